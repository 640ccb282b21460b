"""A user's own sessions: list them, revoke one, revoke all others."""

from __future__ import annotations

from aiohttp import web

from .. import SESSIONS, get_session, require_auth
from . import use_cases, views
from .answers import answer, device_view, for_bearers
from .operations import operation

routes = web.RouteTableDef()


@routes.get("/api/sessions")
@operation("List the user's sessions, newest first", {200: views.Devices}, needs_sign_in=True)
@require_auth
async def list_sessions(request: web.Request) -> web.Response:
    current = get_session(request).id
    found = await request.app[SESSIONS].list(use_cases.signed_in_user_id(request))
    return answer({"sessions": [device_view(info, current) for info in found]})


@routes.delete("/api/sessions/{id}")
@operation("End one of the user's sessions", {200: views.Revoked, 202: views.Revoked}, 404, 429, needs_sign_in=True)
async def revoke_session(request: web.Request) -> web.Response:
    if await use_cases.revoke(request, request.match_info["id"]):
        return answer({"message": "session revoked", "revoked": 1})
    return answer({"message": "session revoked, if it was yours", "revoked": None}, status=202)


@routes.delete("/api/sessions")
@operation("End all other sessions of the user and give this session a new id", {200: views.OthersRevoked}, 429, needs_sign_in=True)
async def revoke_other_sessions(request: web.Request) -> web.Response:
    revoked = await use_cases.revoke_all_others(request)
    return answer({"message": "other sessions revoked", "revoked": revoked, **for_bearers(request)})
