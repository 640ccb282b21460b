"""The security headers of every response of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs
from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from .. import Settings

SERVER = "stateroom"
"""Replaces aiohttp's value, which reveals the versions of Python and aiohttp."""


def security_headers(settings: Settings) -> dict[str, str]:
    """The headers' values by name.

    HSTS is among them only if cookies are secure, because on plain http it would lock users out, and unless `HSTS_MAX_AGE` is 0.
    """
    values = {
        "Server": SERVER,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    }
    if settings.is_cookie_secure and settings.hsts_max_age:
        subdomains = "; includeSubDomains" if settings.hsts_subdomains else ""
        values["Strict-Transport-Security"] = f"max-age={settings.hsts_max_age}{subdomains}"
    return values


def set_on_prepare(values: Mapping[str, str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the signal handler that sets them. A header that a request's handler has set is not changed, except `Server`."""
    fixed = [(istr(name), value) for name, value in values.items() if name != "Server"]  # istr: no lower() at each use

    async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        for name, value in fixed:
            headers.setdefault(name, value)

    return set_headers
