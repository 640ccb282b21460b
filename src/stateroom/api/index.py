"""`/`: leads browsers to the account page, and tells programs the service's name."""

from __future__ import annotations

from aiohttp import web

from . import views
from .answers import answer
from .mounts import OWN, mounted, split_path
from .operations import operation

routes = web.RouteTableDef()


@routes.get("/")
@operation(
    "Show the service's name; browsers are redirected to the account page", {200: views.Index, 303: "text/html"}, uses_session=False
)
async def index(request: web.Request) -> web.Response:
    if "text/html" in request.headers.get("Accept", ""):
        response = web.Response(status=303, headers={"Location": mounted(request, "/account"), "Cache-Control": "no-store"})
    else:
        told = {"name": "stateroom"}
        if split_path(request)[0] != OWN:  # there is no health check under it
            told["health"] = mounted(request, "/api/health")
        response = answer(told)
    response.headers["Vary"] = "Accept"
    return response
