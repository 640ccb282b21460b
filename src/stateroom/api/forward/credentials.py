"""Keeps our credentials from the application: it gets the request's `Cookie` and `Authorization` without them.

A client may also put one where we never read it, for example into the query. A proxy cannot take it out there, so the request is
refused: the application and its log would have what signs the user in here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp.hdrs import AUTHORIZATION

from ... import SESSIONS
from ...errors import BadInput
from ...settings.values import TRACE_COOKIE
from .identity import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from ...accounts.access import Asked

_WORD = re.compile(r"[\w.+/-]+", re.ASCII)
"""A word that may be a credential: the characters of base64, of base64url, and the dots of a JSON Web Token."""
SHORTEST = 64
"""No sealed value of ours has fewer characters, and neither has the first part of a token, which names its key."""
_PART = re.compile(rf"[\w+-]{{{SHORTEST},}}", re.ASCII)
"""A credential, or the first part of a token, also behind a dot or a slash: `bearer.VALUE` is a usual protocol of WebSockets."""
_READ = frozenset({"cookie", "authorization", *(name.lower() for name in NOBODY)})
MISPLACED = (
    "a credential of this service is in the address, or in a header where it does not belong; send it as Cookie or Authorization"
)


def other_cookies(request: web.Request) -> str:
    """The request's cookies without ours, also those of an earlier `SESSION_NAME`. Bytes that are not UTF-8 are left out."""
    sessions = request.app[SESSIONS]
    ours = (sessions.settings.session_name, TRACE_COOKIE)
    sent = (pair.strip() for header in _sent(request, "Cookie") for pair in header.split(";"))
    return "; ".join(
        pair for pair in sent if pair and pair.partition("=")[0].rstrip() not in ours and not _has_ours(sessions.recognises, pair)
    )


def other_authorization(request: web.Request) -> str:
    """The request's `Authorization`, or nothing if any word in it is a credential of ours, whether good, expired or ended.

    Bytes that are not UTF-8 are left out. Several headers become one, as RFC 9110 (section 5.3) lets proxies join them.
    """
    if AUTHORIZATION not in request.headers:
        return ""
    sent = ", ".join(_sent(request, "Authorization"))
    if len(sent) < SHORTEST:
        return sent
    recognises = request.app[SESSIONS].recognises
    words = _WORD.findall(sent)
    if any(map(recognises, words)) or any(_has_ours(recognises, text) for text in (sent, *map(_of_basic, words))):
        return ""
    return sent


def check_places(request: web.Request, asked: Asked) -> None:
    """Raises `BadInput` if a credential of ours is in the address, or in a header where we do not read it."""
    recognises = request.app[SESSIONS].recognises
    others = (value for name, value in request.headers.items() if len(value) >= SHORTEST and name.lower() not in _READ)
    if any(_has_ours(recognises, value) for value in (asked.path, *others)):
        raise BadInput(MISPLACED)


def _has_ours(recognises: Callable[[str], bool], text: str) -> bool:
    """Whether a credential of ours is in a text, also if some of its characters are percent-encoded."""
    if len(text) < SHORTEST:
        return False
    return any(map(recognises, _PART.findall(text))) or ("%" in text and any(map(recognises, _PART.findall(unquote(text)))))


def _of_basic(word: str) -> str:
    """The name and password in a word of `Authorization: Basic` (RFC 7617). Programs send a token as either."""
    if len(word) < SHORTEST:
        return ""
    try:
        return b64decode(f"{word}===").decode(errors="ignore")
    except ValueError:
        return ""


def _sent(request: web.Request, name: str) -> list[str]:
    """The values of a header as the application gets them, without bytes that are not UTF-8."""
    values = request.headers.getall(name, ())
    return [value if value.isascii() else value.encode(errors="ignore").decode() for value in values]
