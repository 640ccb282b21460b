"""Headers that every answer of the service carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs
from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from .. import Settings

HSTS = "max-age=63072000; includeSubDomains"
SERVER = "stateroom"
"""In place of aiohttp's own words, which tell the versions of Python and aiohttp."""


def security_headers(settings: Settings) -> dict[str, str]:
    """By name. HSTS only where cookies are secure: on plain http it would lock people out."""
    values = {
        "Server": SERVER,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
    if settings.is_cookie_secure:
        values["Strict-Transport-Security"] = HSTS
    return values


def set_on_prepare(values: Mapping[str, str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that sets them; a handler may have a policy of its own."""
    fixed = [(istr(name), value) for name, value in values.items() if name != "Server"]  # istr: nothing to lower

    async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        for name, value in fixed:
            headers.setdefault(name, value)

    return set_headers
