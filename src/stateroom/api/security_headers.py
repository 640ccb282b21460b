"""Headers that every answer of the service carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from .. import Settings

HSTS = "max-age=63072000; includeSubDomains"
SERVER = "stateroom"
"""In place of aiohttp's own words, which tell the versions of Python and aiohttp."""


def security_headers(settings: Settings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that sets them. HSTS only where cookies are secure: on plain http it would lock people out."""
    values = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
    if settings.is_cookie_secure:
        values["Strict-Transport-Security"] = HSTS
    fixed = [(istr(name), value) for name, value in values.items()]  # istr: nothing to lower on the way of an answer
    server = istr("Server")

    async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers[server] = SERVER
        for name, value in fixed:
            headers.setdefault(name, value)

    return set_headers
