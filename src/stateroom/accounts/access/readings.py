"""All readings of a path: what proxies, servers and frameworks may make of it before they look for a page.

An application may decode a path, resolve its dots, merge its slashes or cut its parameters, in any order. Nobody can know which
of this the application behind a proxy does. So the rules are looked up for each reading, and all must lead to the same rule.

The set of readings is closed: each step is applied to each reading until nothing else appears, so it contains the result of every
chain of steps. Case is no step. Instead each reading counts twice, because the paths of rules must change their case with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from ...errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_READINGS = 64
MAX_CHARACTERS = 32_768
"""The length of all readings of a path together. A path that exceeds a bound is refused, so no path takes long."""
MAX_MARKS = 30
"""How many combining marks may follow each other. No text has more: https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format"""

TOO_MANY = "the path can be read in too many ways; send it without encoded characters, dots, doubled slashes and parameters"
NO_PATH = "the path must begin with a slash"

_WORD = r"[\w!&'()*+,:=@~-]+"
_PLAIN = re.compile(rf"(?:/{_WORD}(?:\.+{_WORD})*)*/?", re.ASCII)
"""A path that has one reading only. Most have."""


class Reading(NamedTuple):
    """One reading of a path. `steps`: what leads to it, in words; nothing for the path as sent.

    `is_folded`: the path has lost its case, and is compared with folded paths.
    """

    path: str
    steps: tuple[str, ...]
    is_folded: bool = False


def readings_of(target: str) -> Iterator[Reading]:
    """The readings of a path as a client sent it, with or without a query. The first is the path as sent.

    Raises `BadInput` if it is no path, and after some readings if it has too many.
    """
    path = as_sent(target.partition("?")[0])
    known = {path}
    waiting = deque([Reading(path, ())])
    is_plain = _PLAIN.fullmatch(path) is not None
    length = len(path)
    while waiting:
        path, steps, _ = reading = waiting.popleft()
        yield reading
        yield Reading(folded(path), (*steps, "in any case"), is_folded=True)
        if is_plain:
            return
        for name, step in STEPS.items():
            other = step(path)
            if other not in known:
                known.add(other)
                length += len(other)
                if len(known) > MAX_READINGS or length > MAX_CHARACTERS:
                    raise BadInput(TOO_MANY)
                waiting.append(Reading(other, (*steps, name)))


def folded(path: str) -> str:
    """A path in a spelling in which upper and lower case are the same."""
    return path.lower() if path.isascii() else path.upper().casefold()


def as_sent(path: str) -> str:
    """The path, with the characters decoded that browsers always encode: spaces, quotes, and those that are not ASCII.

    The rules have their paths in this form too. Raises `BadInput` if the text is not a path.
    """
    if not path.startswith("/"):
        raise BadInput(NO_PATH)
    try:
        path.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise BadInput("the path is not text") from None
    return _ALWAYS_ENCODED.sub(_if_text, path) if "%" in path else path


# What browsers encode in a path: https://url.spec.whatwg.org/#path-percent-encode-set
_ALWAYS_ENCODED = re.compile(r"(?:%(?:[89a-f][0-9a-f]|20|22|3c|3e|5e|60|7b|7c|7d))+", re.IGNORECASE)


def _if_text(found: re.Match[str]) -> str:
    try:
        return unquote_to_bytes(found[0]).decode()
    except UnicodeDecodeError:
        return found[0]


def _decoded(path: str) -> str:
    """Bytes that are not UTF-8 become lone surrogates, as in aiohttp's headers."""
    if "%" not in path:
        return path
    return unquote_to_bytes(path.encode(errors="surrogateescape")).decode(errors="surrogateescape")


def _decoded_between_slashes(path: str) -> str:
    """As Apache, Tomcat and Go do: an encoded slash is no end of a segment yet."""
    return _decoded(_ENCODED_SLASH.sub(r"%25\1", path)) if "%" in path else path


def _percent_u(path: str) -> str:
    """`%u002f` as IIS reads it."""
    return _PERCENT_U.sub(lambda found: _character(int(found[1], 16)), path) if "%" in path else path


def _overlong(path: str) -> str:
    """Overlong UTF-8 as lenient decoders read it: `C0 AF` is a slash. The bytes are lone surrogates after decoding."""
    return _OVERLONG.sub(lambda found: chr((ord(found[0][-2]) & 1) << 6 | ord(found[0][-1]) & 0x3F), path)


def _look_alike(path: str) -> str:
    """Full-width and other characters, as normalisation (NFKC) and Windows' code pages ("best fit") map them to ASCII.

    Normalisation sorts marks that follow each other, in the square of their number. So a path with many of them is refused.
    """
    if path.isascii():
        return path
    marks = 0
    for character in "".join(unicodedata.normalize("NFKD", character) for character in path):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            raise BadInput(TOO_MANY)
    return unicodedata.normalize("NFKC", path.translate(_BEST_FIT))


def _without_controls(path: str) -> str:
    """Without control characters and invisible ones. Browsers drop line ends and tabs, some file systems invisible characters."""
    return _CONTROLS.sub("", path)


def _cut_at_nul(path: str) -> str:
    return path.partition("\0")[0]


def _cut_at_query(path: str) -> str:
    """An encoded question mark or number sign, for a server that decodes before it splits."""
    return _QUERY.split(path, maxsplit=1)[0]


def _backslashes(path: str) -> str:
    return path.replace("\\", "/")


def _merged(path: str) -> str:
    return _SLASHES.sub("/", path)


def _without_authority(path: str) -> str:
    """`//static/admin` as a URL without a scheme: `static` is a host then. `new URL(path, base)` in Node.js reads it so."""
    found = _AUTHORITY.match(path)
    return path if found is None else "/" + path[found.end() + 1 :]


def _without_parameters(path: str) -> str:
    """Without the parameters of each segment, as Java's servers read it: `/static/..;a=1/admin` is `/static/../admin`."""
    return _PARAMETERS.sub("", path)


def _cut_at_parameters(path: str) -> str:
    return path.partition(";")[0]


def _windows_names(path: str) -> str:
    """Names as Windows opens files: without dots and spaces at the end, and without a stream (`admin::$DATA`)."""
    return "/".join(map(_windows_name, path.split("/"))) if _FOR_WINDOWS.search(path) else path


def _windows_name(segment: str) -> str:
    name, colon, stream = segment.partition(":")
    name = name if "$" in stream else f"{name}{colon}{stream}"
    return name.rstrip(" ") if name.rstrip(" ") in {".", ".."} else name.rstrip(" .")


def _dots_resolved(path: str) -> str:
    """Without dot segments: RFC 3986, section 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _character(code: int) -> str:
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


STEPS: Mapping[str, Callable[[str], str]] = {
    "percent-decoded": _decoded,
    "percent-decoded except slashes": _decoded_between_slashes,
    "%u decoded": _percent_u,
    "overlong UTF-8 decoded": _overlong,
    "look-alike characters replaced": _look_alike,
    "control characters removed": _without_controls,
    "cut at NUL": _cut_at_nul,
    "cut at ? or #": _cut_at_query,
    "backslashes as slashes": _backslashes,
    "slashes merged": _merged,
    "first segment as a host": _without_authority,
    "parameters removed": _without_parameters,
    "cut at ;": _cut_at_parameters,
    "names as on Windows": _windows_names,
    "dots resolved": _dots_resolved,
}
"""Each step takes linear time, and returns a path that begins with a slash. It may raise `BadInput` instead."""

_ENCODED_SLASH = re.compile(r"%(2f|5c)", re.IGNORECASE)
_PERCENT_U = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)
_OVERLONG = re.compile("(?:[\udcc0\udcc1]|\udce0[\udc80\udc81]|\udcf0\udc80[\udc80\udc81])[\udc80-\udcbf]")
_BEST_FIT = str.maketrans("\u2044\u2215\u29f8\u2216\u29f5\u29f9\u00a5\u20a9", "///\\\\\\\\\\")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_QUERY = re.compile(r"[?#]")
_SLASHES = re.compile(r"/{2,}")
_AUTHORITY = re.compile(r"[/\\]{2,}[^/\\]*")
_PARAMETERS = re.compile(r";[^/]*")
_FOR_WINDOWS = re.compile(r"[. ](?:/|$)|\$")
