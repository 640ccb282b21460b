"""Decides where a sign-in and a sign-out may lead: to our own pages, and to the hosts of `RETURN_HOSTS`.

Browsers read addresses in their own way (https://url.spec.whatwg.org/#url-parsing): they drop tabs and line ends, and read a
backslash before the query as a slash. Every address that they could read differently from us is refused. The part that names the
host is compared as text, and only the rest may have characters that we percent-encode.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from ..addresses import compressed, is_ipv6
from ..origins import DEFAULT_PORTS, origin_of
from ..settings.places import MAX_PORT
from ..settings.return_hosts import matches

if TYPE_CHECKING:
    from .. import Settings

MAX_LENGTH = 8000
"""The length of an address in the query of another one, in bytes. With it the request line of the sign-in page still fits into the
8 KiB that nginx (`large_client_header_buffers`) and Apache (`LimitRequestLine`) accept by default."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_START = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{0,5}))?(?=[/?#]|$)", re.IGNORECASE | re.ASCII)
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "\\")
"""Printable ASCII stays as it is, `%` too: the address is encoded already. A backslash is left only in a query or a fragment."""


class _Place(NamedTuple):
    """The scheme, host and port that an address begins with, and its path, query and fragment."""

    scheme: str
    host: str
    port: int
    start: str
    rest: str


def safe_return(settings: Settings, value: str, *, own_origin: str = "") -> str | None:
    """Return the address if it is a path of ours, or a URL of a host that we may redirect to. Else return None.

    Characters that do not belong into an address are percent-encoded. An address that is too long loses its fragment, and then all
    of its path and query: the user still comes to the right application.
    `own_origin`: the `scheme://host[:port]` at which the client uses us.
    """
    if _CONTROL.search(value):
        return None
    if value.startswith("/"):
        return None if value.startswith(("//", "/\\")) else _finished("", value)
    place = _read(value)
    if place is None or not _is_allowed(settings, place, own_origin):
        return None
    return _finished(place.start, place.rest)


def is_return_origin(settings: Settings, origin: str, *, own_origin: str = "") -> bool:
    """Whether a sign-in may lead to the pages of this origin."""
    place = _read(origin)
    return place is not None and not place.rest and _is_allowed(settings, place, own_origin)


def _finished(start: str, rest: str) -> str | None:
    """The whole address, short enough; None if it has what browsers read differently."""
    if "\\" in re.split(r"[?#]", rest, maxsplit=1)[0]:
        return None
    try:
        rest = quote(rest, safe=_KEPT)
    except UnicodeEncodeError:  # half a character, which is no text
        return None
    for shorter in (rest, rest.partition("#")[0], "/"):
        if len(quote(start + shorter, safe="")) <= MAX_LENGTH:
            return start + shorter
    return None


def _read(value: str) -> _Place | None:
    """The parts of an absolute URL without a user and a password. None for everything else."""
    found = _START.match(value)
    if found is None:
        return None
    scheme, host = found[1].lower(), found[2].lower()
    port = int(found[3]) if found[3] else DEFAULT_PORTS[scheme]
    if host.startswith("["):
        if not is_ipv6(host[1:-1]):
            return None
        host = f"[{compressed(host[1:-1])}]"
    if port > MAX_PORT:
        return None
    return _Place(scheme, host, port, found[0], value[found.end() :])


def _is_allowed(settings: Settings, place: _Place, own_origin: str) -> bool:
    origin = origin_of(place.scheme, f"{place.host}:{place.port}")
    return origin in {own_origin, *settings.own_origins} or any(
        matches(each, place.host, place.port) for each in settings.return_hosts
    )
