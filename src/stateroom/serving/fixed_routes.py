"""Requests for fixed paths reach their handlers without the router.

For each request aiohttp asks its router, makes a match of the result, puts the middlewares around the handler, or looks
them up, and tells the match which application it is in. That is a tenth of a session check, and has the same result each
time where the path has no variable part. Here the router is asked once for each fixed path, when the application starts.

aiohttp's own way remains for every other request: one with a query or `Expect`, and one for a sub-application. While a
request goes through the middlewares of several applications, its match says which of them it is in, so that requests
cannot share a match.
"""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING

from aiohttp import web

from ..insides import of_aiohttp

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from ..insides.of_aiohttp import Handle

_DECIDE_BY_PATH = (web.PlainResource, web.DynamicResource, web.StaticResource, web.PrefixedSubAppResource)
"""Resources that look at a request's method and path only. Others may look at its headers; a domain's does."""


async def by_fixed_routes(app: web.Application, otherwise: Handle) -> Handle:
    """Handles requests for the fixed paths of an application that has started, and leaves others to `otherwise`."""
    if not of_aiohttp.is_known() or not _decides_by_path(app.router) or not all(map(of_aiohttp.is_new_style, app.middlewares)):
        return otherwise
    matches = {}
    for resource in app.router.resources():
        if type(resource) is web.PlainResource:
            for route in resource:
                match = await of_aiohttp.ask_router(app, route.method, resource.canonical)
                if match.route is route:  # the router may prefer a resource that was added before this one
                    matches[route.method, resource.canonical] = match, _with_middlewares(app, route.handler)
    return of_aiohttp.dispatch(matches, otherwise)


def _decides_by_path(router: web.UrlDispatcher) -> bool:
    return type(router) is web.UrlDispatcher and all(type(each) in _DECIDE_BY_PATH for each in router.resources())


def _with_middlewares(app: web.Application, handler: Handler) -> Handler:
    for middleware in reversed(app.middlewares):
        handler = update_wrapper(partial(middleware, handler=handler), handler)
    return handler
