"""Registering, signing in and out, and what a sign-in is worth now."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web
from pydantic import SecretStr

from .. import (
    SESSIONS,
    Session,
    StoreUnavailable,
    access_token,
    client_address,
    flash,
    get_session,
    is_bearer,
    reauthenticate,
    require_auth,
    revoke_others,
    session_token,
    sign_in,
    sign_out,
)
from ..accounts import ACCOUNTS
from ..errors import NotFound, Unauthenticated
from .answers import answer, user_view
from .bodies import Body, takes

routes = web.RouteTableDef()


class Registration(Body):
    email: str
    password: SecretStr
    name: str


class Credentials(Body):
    email: str
    password: SecretStr


class Login(Credentials):
    remember: bool = False
    transport: Literal["cookie", "bearer"] = "cookie"


class Reauthentication(Body):
    password: SecretStr


class PasswordChange(Body):
    current_password: SecretStr
    new_password: SecretStr


@routes.post("/api/auth/register")
@takes(Registration)
async def register(request: web.Request, body: Registration) -> web.Response:
    user = await request.app[ACCOUNTS].register(body.email, body.password.get_secret_value(), body.name, client_address(request))
    session = get_session(request)
    if session.is_writable:
        flash(session, "success", f"Welcome, {user.name}.")
    await sign_in(request, user.id)
    return answer({"user": user_view(user), **_outcome("registration successful", session)}, status=201)


@routes.post("/api/auth/login")
@takes(Login)
async def login(request: web.Request, body: Login) -> web.Response:
    accounts = request.app[ACCOUNTS]
    user = await accounts.authenticate(body.email, body.password.get_secret_value(), client_address(request))
    session = get_session(request)
    if session.is_writable:
        flash(session, "success", f"Welcome back, {user.name}.")
    await sign_in(request, user.id, remember=body.remember, transport=body.transport)
    accounts.count_login(degraded=session.degraded)
    return answer({"user": user_view(user), **_outcome("login successful", session), **_for_bearers(request)})


@routes.post("/api/auth/token")
@takes(Credentials)
async def token(request: web.Request, body: Credentials) -> web.Response:
    manager = request.app[SESSIONS]
    if manager.tokens is None:
        raise NotFound("access tokens are off; JWT_KEYS turns them on")
    if manager.store_state() == "away":
        raise StoreUnavailable("a token must be tied to a stored session")
    accounts = request.app[ACCOUNTS]
    user = await accounts.authenticate(body.email, body.password.get_secret_value(), client_address(request))
    session = await sign_in(request, user.id)
    accounts.count_login(degraded=session.degraded)
    minted = access_token(request)
    return answer(
        {
            "user": user_view(user),
            "access_token": minted.value,
            "token_type": "Bearer",
            "expires_in": minted.expires_in,
            "session_id": session.id,
        }
    )


@routes.post("/api/auth/logout")
async def logout(request: web.Request) -> web.Response:
    await sign_out(request)
    return answer({"message": "logout successful"})


@routes.get("/api/auth/check")
async def check(request: web.Request) -> web.Response:
    session = get_session(request)
    if session.is_signed_in:  # the call that every page makes
        return answer(
            {
                "authenticated": True,
                "user_id": session.user_id,
                "degraded": session.degraded,
                "expires_in": session.expires_in,
            }
        )
    anonymous: dict[str, Any] = {"authenticated": False, "user_id": 0, "degraded": session.degraded, "expires_in": 0}
    if session.ended is not None:
        anonymous["ended"] = session.ended
    return answer(anonymous)


@routes.post("/api/auth/reauthenticate")
@require_auth
@takes(Reauthentication)
async def confirm_password(request: web.Request, body: Reauthentication) -> web.Response:
    user = await request.app[ACCOUNTS].verify_password(
        signed_in_user_id(request), body.password.get_secret_value(), client_address(request)
    )
    session = await reauthenticate(request)
    return answer({"user": user_view(user), **_outcome("reauthentication successful", session), **_for_bearers(request)})


@routes.post("/api/auth/password")
@require_auth
@takes(PasswordChange)
async def password(request: web.Request, body: PasswordChange) -> web.Response:
    user = await request.app[ACCOUNTS].change_password(
        signed_in_user_id(request),
        body.current_password.get_secret_value(),
        body.new_password.get_secret_value(),
        client_address(request),
    )
    revoked = await revoke_others(request, reason="password")
    session = get_session(request)
    if session.is_writable:
        flash(session, "success", "Password changed.")
    return answer({"user": user_view(user), **_outcome("password changed", session), "revoked": revoked, **_for_bearers(request)})


def _for_bearers(request: web.Request) -> dict[str, str]:
    """The session's new value, for clients that no cookie reaches."""
    return {"session_token": session_token(request)} if is_bearer(request) else {}


def _outcome(message: str, session: Session) -> dict[str, Any]:
    """The words of a step that gave a new session; other ones while that is in its cookie alone."""
    if not session.degraded:
        return {"message": message}
    return {
        "message": f"{message} (session storage degraded)",
        "warning": "some features may be limited",
        "degraded": True,
    }


def signed_in_user_id(request: web.Request) -> int:
    user_id = get_session(request).user_id
    if not isinstance(user_id, int):
        raise Unauthenticated
    return user_id
