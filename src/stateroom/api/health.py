"""Health checks of the process and of Redis."""

from __future__ import annotations

from aiohttp import web

from .. import SESSIONS, StoreUnavailable
from . import views
from .answers import answer
from .operations import operation

routes = web.RouteTableDef()


class Readiness:
    """Whether this process may receive requests, which is so until it drains. `is_draining` never becomes False again."""

    def __init__(self) -> None:
        self.is_draining = False


READINESS = web.AppKey("stateroom_readiness", Readiness)


@routes.get("/api/health")
@operation("Check whether Redis replies", {200: views.Health, 503: views.Health}, uses_session=False)
async def health(request: web.Request) -> web.Response:
    try:
        await request.app[SESSIONS].ping()
    except StoreUnavailable:
        return answer({"status": "unhealthy", "redis": "disconnected"}, status=503)
    return answer({"status": "healthy", "redis": "connected"})


@routes.get("/livez")
@operation("Check whether the process is alive", {200: "text/plain"}, uses_session=False)
async def livez(request: web.Request) -> web.Response:
    """Always answer 200. The check does not depend on Redis, because a restart of this process would not fix Redis."""
    return _plain(request, {"process": True})


@routes.get("/readyz")
@operation("Check whether the process may receive requests", {200: "text/plain", 503: "text/plain"}, uses_session=False)
async def readyz(request: web.Request) -> web.Response:
    """Answer 200 unless the process drains.

    The check does not depend on Redis, because degraded mode serves requests. If each process said no, none would get any.
    """
    return _plain(request, {"not_draining": not request.app[READINESS].is_draining})


def _plain(request: web.Request, checks: dict[str, bool]) -> web.Response:
    is_good = all(checks.values())
    text = "ok" if is_good else "unavailable"
    if "verbose" in request.query:
        text = "\n".join(f"[{'+' if good else '-'}]{name} {'ok' if good else 'failed'}" for name, good in checks.items())
    return web.Response(text=f"{text}\n", status=200 if is_good else 503, headers={"Cache-Control": "no-store"})
