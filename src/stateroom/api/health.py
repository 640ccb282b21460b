"""Health checks: does the process live, may it take traffic, does Redis answer."""

from __future__ import annotations

from aiohttp import web

from .. import SESSIONS, StoreUnavailable
from . import views
from .answers import answer
from .operations import operation

routes = web.RouteTableDef()


class Readiness:
    """Whether this process may take traffic: from startup until it drains. `is_draining` never becomes False again."""

    def __init__(self) -> None:
        self.is_draining = False


READINESS = web.AppKey("stateroom_readiness", Readiness)


@routes.get("/api/health")
@operation("Whether Redis answers", {200: views.Health, 503: views.Health}, uses_session=False)
async def health(request: web.Request) -> web.Response:
    try:
        await request.app[SESSIONS].ping()
    except StoreUnavailable:
        return answer({"status": "unhealthy", "redis": "disconnected"}, status=503)
    return answer({"status": "healthy", "redis": "connected"})


@routes.get("/livez")
@operation("Whether the process lives", {200: "text/plain"}, uses_session=False)
async def livez(request: web.Request) -> web.Response:
    """Answer. This does not depend on Redis, because a restart of this process would not fix Redis."""
    return _plain(request, {"process": True})


@routes.get("/readyz")
@operation("Whether the process may take traffic", {200: "text/plain", 503: "text/plain"}, uses_session=False)
async def readyz(request: web.Request) -> web.Response:
    """Answer 200 unless the process drains.

    This does not depend on Redis either: if every instance left the rotation, nobody would be served. Degraded mode serves.
    """
    return _plain(request, {"not_draining": not request.app[READINESS].is_draining})


@routes.get("/")
@operation("The service's name; browsers are redirected to their account", {200: views.Index, 303: "text/html"}, uses_session=False)
async def index(request: web.Request) -> web.Response:
    if "text/html" in request.headers.get("Accept", ""):
        response = web.Response(status=303, headers={"Location": "/account", "Cache-Control": "no-store"})
    else:
        response = answer({"name": "stateroom", "health": "/api/health"})
    response.headers["Vary"] = "Accept"
    return response


def _plain(request: web.Request, checks: dict[str, bool]) -> web.Response:
    is_good = all(checks.values())
    text = "ok" if is_good else "unavailable"
    if "verbose" in request.query:
        text = "\n".join(f"[{'+' if good else '-'}]{name} {'ok' if good else 'failed'}" for name, good in checks.items())
    return web.Response(text=f"{text}\n", status=200 if is_good else 503, headers={"Cache-Control": "no-store"})
