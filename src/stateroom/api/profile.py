"""Shows the signed-in user's account, this session, and messages for the user."""

from __future__ import annotations

from aiohttp import web

from .. import get_session, require_auth
from ..accounts import ACCOUNTS
from . import views
from .answers import answer, session_view, user_view, verification_view
from .operations import operation
from .use_cases import signed_in_user_id, take_messages, take_messages_if_possible
from .verified import open_to_unverified

routes = web.RouteTableDef()


@routes.get("/api/profile")
@open_to_unverified
@operation("Show the user and this session", {200: views.Profile}, needs_sign_in=True)
@require_auth
async def profile(request: web.Request) -> web.Response:
    user = await request.app[ACCOUNTS].profile(signed_in_user_id(request))
    shown = {"user": user_view(user), "session": session_view(get_session(request))}
    return answer({**shown, **verification_view(request, user)})


@routes.get("/api/dashboard")
@operation("Show this session and take its messages", {200: views.Dashboard}, needs_sign_in=True)
@require_auth
async def dashboard(request: web.Request) -> web.Response:
    session = get_session(request)
    return answer(
        {
            "message": "Welcome to your dashboard",
            "user_id": session.user_id,
            "session": session_view(session),
            "flashes": await take_messages_if_possible(request),
        }
    )


@routes.get("/api/flashes")
@operation("Take the messages for the visitor; each is shown once", {200: views.Flashes})
async def flashes(request: web.Request) -> web.Response:
    return answer(dict(await take_messages(request)))
