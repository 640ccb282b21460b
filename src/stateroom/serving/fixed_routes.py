"""Passes requests for fixed paths to their handlers without asking the router.

For each request aiohttp asks its router, makes a match, wraps the handler in the middlewares, and stores in the match which
application the request is in. This takes a tenth of a session check. For a path without a variable part the result is
always the same. So the router is asked once for each fixed path, when the application starts.

aiohttp handles all other requests itself: those with a query or `Expect`, and those for a sub-application. A request for a
sub-application goes through the middlewares of several applications, and its match says in which of them it is now. So
requests for a sub-application cannot share a match.
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
"""Resources that look only at a request's method and path. Others may look at its headers, as a domain's resource does."""


async def by_fixed_routes(app: web.Application, otherwise: Handle) -> Handle:
    """Return a handler for the fixed paths of a started application. It passes all other requests to `otherwise`."""
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
