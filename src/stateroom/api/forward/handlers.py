"""The endpoints: `/auth/forward` for Traefik, Caddy and HAProxy, `/auth/request` for nginx, `/auth/ext-authz/…` for Envoy.

A refusal is an answer like others. So the session is saved with it, and it has the headers that overwrite the client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ... import keep_cookie, renew_cookie
from ...errors import StateroomError
from ..operations import operation
from ..verified import open_to_unverified
from .admission import DOORKEEPER
from .answers import admitted, note_visit, refused
from .navigation import is_visit

if TYPE_CHECKING:
    from .asked import Convention

routes = web.RouteTableDef()


@routes.get("/auth/forward")
@open_to_unverified
@operation("Tell Traefik, Caddy or HAProxy who sent a request", {200: "text/plain"}, 302, 400, 401, 403)
async def forward(request: web.Request) -> web.Response:
    """Answer 200 with the user. If nobody is signed in, redirect page visits to the sign-in and answer 401 to others."""
    return await _answer(request, "forwarded")


@routes.get("/auth/request")
@open_to_unverified
@operation("Tell nginx who sent a request", {200: "text/plain"}, 401, 403)
async def auth_request(request: web.Request) -> web.Response:
    """Answer 200, 401, 403 or 503. For page visits `Location` names the page that can help, for `error_page 401`."""
    return await _answer(request, "nginx")


@routes.route("*", "/auth/ext-authz/{path:(?s:.*)}")
@open_to_unverified
@operation("Tell Envoy who sent a request, of any method", {200: "text/plain"}, 302, 400, 401, 403)
async def ext_authz(request: web.Request) -> web.StreamResponse:
    """Answer as `forward`. Envoy sends the original method and path, and only 200 lets the request pass."""
    return await _answer(request, "envoy")


HANDLERS = frozenset({forward, auth_request, ext_authz})
"""The handlers that are exempt from the check of `Origin`. A proxy repeats the method and origin of a request to another
application here, and that application must check them."""


async def _answer(request: web.Request, by_endpoint: Convention) -> web.Response:
    doorkeeper, by_nginx = request.match_info.current_app[DOORKEEPER], by_endpoint == "nginx"
    asked = doorkeeper.reader.read(request, by_endpoint)
    if asked.method == "GET" and is_visit(request, asked):
        renew_cookie(request)
    else:
        # The proxy adds our cookie to the application's answer. A cache may keep that one, or take the headers of an answer to
        # HEAD into a page that it has kept (RFC 9111, section 4.3.5).
        keep_cookie(request)
    if not by_nginx:
        note_visit(request, asked)
    try:
        identity = await doorkeeper.admit(request, asked)
    except StateroomError as error:
        return refused(request, asked, error, by_nginx=by_nginx)
    return admitted(identity, *doorkeeper.credentials.others(request.headers))
