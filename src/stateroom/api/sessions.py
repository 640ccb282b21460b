"""A user's own sessions: list them, revoke one, revoke all others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import SESSIONS, check_auth, client_address, get_session, require_auth, revoke_others, security_event, sign_out
from ..errors import NotFound
from . import views
from .answers import answer, rfc3339
from .auth import signed_in_user_id
from .operations import operation

if TYPE_CHECKING:
    from .. import SessionInfo

routes = web.RouteTableDef()

_HANDLE = re.compile(r"[A-Za-z0-9_-]{22}")


@routes.get("/api/sessions")
@operation("The user's sessions, newest first", {200: views.Devices}, needs_sign_in=True)
@require_auth
async def list_sessions(request: web.Request) -> web.Response:
    current = get_session(request).id
    found = await request.app[SESSIONS].list(signed_in_user_id(request))
    return answer({"sessions": [_view(info, current) for info in found]})


@routes.delete("/api/sessions/{id}")
@operation("End one of the user's sessions", {200: views.Revoked, 202: views.Revoked}, 404, needs_sign_in=True)
async def revoke_session(request: web.Request) -> web.Response:
    _check_fresh(request)
    handle = request.match_info["id"]
    if handle == get_session(request).id:
        await sign_out(request)
    else:
        user_id = signed_in_user_id(request)
        if not _HANDLE.fullmatch(handle):
            raise NotFound("you have no such session")
        found = await request.app[SESSIONS].revoke(user_id, handle)
        if found is False:
            raise NotFound("you have no such session")
        security_event("revoke", session=handle, user_id=user_id, address=client_address(request))
        if found is None:
            return answer({"message": "session revoked, if you have it", "revoked": None}, status=202)
    return answer({"message": "session revoked", "revoked": 1})


@routes.delete("/api/sessions")
@operation("End all of the user's sessions but this one", {200: views.Revoked}, needs_sign_in=True)
async def revoke_other_sessions(request: web.Request) -> web.Response:
    _check_fresh(request)
    return answer({"message": "other sessions revoked", "revoked": await revoke_others(request)})


def _check_fresh(request: web.Request) -> None:
    check_auth(request, fresh=request.app[SESSIONS].settings.fresh_max_age)


def _view(info: SessionInfo, current: str | None) -> dict[str, Any]:
    return {
        "id": info.id,
        "current": info.id == current,
        "created_at": rfc3339(info.created_at),
        "last_access": rfc3339(info.last_access),
        "expires_at": rfc3339(info.expires_at),
        "ip_address": info.ip_address,
        "user_agent": info.user_agent,
        "device_type": info.device_type,
        "location": info.location,
    }
