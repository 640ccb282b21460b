"""The request's `Cookie` and `Authorization` as the application may see them: without our credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ... import SESSIONS
from ...settings.values import TRACE_COOKIE

if TYPE_CHECKING:
    from aiohttp import web

_WORD = re.compile(r"[\w.+/-]+", re.ASCII)
"""A word that may be a credential: the characters of base64, of base64url, and the dots of a JSON Web Token."""


def other_cookies(request: web.Request) -> str:
    """The request's cookies without ours. Bytes that are not UTF-8 are left out."""
    ours = (request.app[SESSIONS].settings.session_name, TRACE_COOKIE)
    sent = (pair.strip() for header in _sent(request, "Cookie") for pair in header.split(";"))
    return "; ".join(pair for pair in sent if pair and pair.partition("=")[0].rstrip() not in ours)


def other_authorization(request: web.Request) -> str:
    """The request's `Authorization`, or nothing if any word in it is a credential of ours, whether good, expired or ended.

    Bytes that are not UTF-8 are left out. Several headers become one, as RFC 9110 (section 5.3) lets proxies join them.
    """
    sent = ", ".join(_sent(request, "Authorization"))
    recognises = request.app[SESSIONS].recognises
    return "" if any(recognises(word) for word in _WORD.findall(sent)) else sent


def _sent(request: web.Request, name: str) -> list[str]:
    """The values of a header as the application gets them, without bytes that are not UTF-8."""
    return [value.encode(errors="ignore").decode() for value in request.headers.getall(name, ())]
