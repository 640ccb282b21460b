"""Keeps our credentials from the application: it gets the request's `Cookie` and `Authorization` without them.

A client may also put one where we never read it, for example into the query. A proxy cannot take it out there, so the request is
refused: the application and its log would have what signs the user in here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp.hdrs import AUTHORIZATION

from ... import SESSIONS
from ...errors import BadInput
from ...settings.values import TRACE_COOKIE
from .identity import NOBODY

if TYPE_CHECKING:
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
        pair
        for pair in sent
        if pair
        and pair.partition("=")[0].rstrip() not in ours
        and (len(pair) < SHORTEST or not any(sessions.recognises(part) for part in _PART.findall(pair)))
    )


def other_authorization(request: web.Request) -> str:
    """The request's `Authorization`, or nothing if any word in it is a credential of ours, whether good, expired or ended.

    Bytes that are not UTF-8 are left out. Several headers become one, as RFC 9110 (section 5.3) lets proxies join them.
    """
    if AUTHORIZATION not in request.headers:
        return ""
    sent = ", ".join(_sent(request, "Authorization"))
    recognises = request.app[SESSIONS].recognises
    return "" if any(recognises(word) for word in (*_WORD.findall(sent), *_PART.findall(sent))) else sent


def check_places(request: web.Request, asked: Asked) -> None:
    """Raises `BadInput` if a credential of ours is in the address, or in a header where we do not read it."""
    long = [value for name, value in request.headers.items() if len(value) >= SHORTEST and name.lower() not in _READ]
    if len(asked.path) >= SHORTEST:
        long.append(asked.path)
    for value in long:
        parts = _PART.findall(value)
        if parts and any(map(request.app[SESSIONS].recognises, parts)):
            raise BadInput(MISPLACED)


def _sent(request: web.Request, name: str) -> list[str]:
    """The values of a header as the application gets them, without bytes that are not UTF-8."""
    values = request.headers.getall(name, ())
    return [value if value.isascii() else value.encode(errors="ignore").decode() for value in values]
