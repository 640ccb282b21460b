"""Allows cross-origin calls with credentials, only from `CORS_ORIGINS` (https://fetch.spec.whatwg.org/#http-cors-protocol).

Forward auth is left out: it is asked about requests to other applications, whose origins the setting does not name. Envoy repeats
the method too, and would pass our answer to a preflight on as the application's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..origins import plain_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp.typedefs import Handler, Middleware

    from .. import Settings

ALLOWED_METHODS = "GET, POST, DELETE"
ALLOWED_HEADERS = "Content-Type, Authorization, X-Session-Renew"
EXPOSED_HEADERS = "Retry-After, X-Request-ID, X-Session-Cookie"
PREFLIGHT_MAX_AGE_SECONDS = "600"


def cors_middleware(settings: Settings, *, exempt: Collection[Callable[..., Any]] = ()) -> Middleware:
    """A middleware that answers preflights and lets scripts of the named origins read responses, but not those of `exempt`."""
    origins = frozenset(settings.cors_origins)

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.handler in exempt:
            return await handler(request)
        origin = request.headers.get("Origin", "")
        is_allowed = plain_origin(origin) in origins
        if is_allowed and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response: web.StreamResponse = web.Response(status=204)
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE_SECONDS
        else:
            response = await handler(request)
        if response.prepared:
            return response
        response.headers.add("Vary", "Origin")
        if is_allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response

    return cors
