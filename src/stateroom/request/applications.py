"""Finds which of the applications around a request has the sessions. aiohttp nests applications (`add_subapp`).

The result tells a programmer what to change. So it runs at startup and when an error is raised, not in each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web


def inner_applications(app: web.Application) -> Iterator[web.Application]:
    """All applications inside this one, at every depth."""
    resources = getattr(app.router, "resources", tuple)  # an application may have a router of its own kind
    for resource in resources():
        inner = resource.get_info().get("app")
        if inner is not None:
            yield inner
            yield from inner_applications(inner)


def why_no_session(request: web.BaseRequest, key: web.AppKey[Any]) -> str:
    """Why a request has no session, and what to change. `key`: the key that every set-up application has."""
    match_info = getattr(request, "match_info", None)
    apps = match_info.apps if match_info is not None else ()
    if not apps:
        return "there are no sessions here: no application serves this request"
    if key in apps[0]:
        return (
            "this middleware runs before the sessions are loaded, or the request was refused before that: call "
            "stateroom.setup(app) first, then append the middleware to app.middlewares"
        )
    if any(key in app for app in apps):
        return (
            "stateroom.setup was called for a sub-application, and this runs before its sessions are loaded: call stateroom.setup "
            "for the outer application, which gives its sub-applications sessions too, then append middlewares"
        )
    if any(key in app for app in inner_applications(apps[0])):
        return (
            "stateroom.setup was called for a sub-application only, and this request is not for it: call stateroom.setup for the "
            "outer application, which gives its sub-applications sessions too"
        )
    return "there are no sessions here: call stateroom.setup(app) before the application starts"
