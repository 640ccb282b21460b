"""Requests for fixed paths reach their handlers without the router.

For each request aiohttp asks its router, makes a match of the answer, puts the middlewares around the handler, or looks
that up, and tells the match which application it is in: a tenth of a session check, and the same each time where the path
has no variable part. Here that is done once, when the application starts. Whatever is not a fixed path, or brings a
query or `Expect`, takes aiohttp's own way.
"""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler

    Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def by_fixed_routes(app: web.Application, otherwise: Handle) -> Handle:
    """Handles requests for the fixed paths of an application that is starting, and leaves others to `otherwise`."""
    matches = {
        (route.method, route.resource.canonical): (_match(app, route), _with_middlewares(app, route.handler))
        for route in app.router.routes()
        if isinstance(route, web.ResourceRoute) and isinstance(route.resource, web.PlainResource)
    }

    def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        found = matches.get((request.method, request.raw_path))
        if found is None or hdrs.EXPECT in request.headers:
            return otherwise(request)
        request._match_info, handler = found  # type: ignore[attr-defined]  # noqa: SLF001 (there is no public way)
        return handler(request)  # type: ignore[arg-type]

    return handle


def _match(app: web.Application, route: web.AbstractRoute) -> web.UrlMappingMatchInfo:
    """The match that all requests for the route share: there is nothing in it that one of them has made."""
    match = web.UrlMappingMatchInfo({}, route)
    match.add_app(app)
    match.freeze()
    match.current_app = app
    return match


def _with_middlewares(app: web.Application, handler: Handler) -> Handler:
    for middleware in reversed(app.middlewares):
        handler = update_wrapper(partial(middleware, handler=handler), handler)
    return handler
