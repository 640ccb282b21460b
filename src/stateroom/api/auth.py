"""Registering, signing in, signing out, checking a session, changing a password."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, SecretStr

from .. import (
    SESSIONS,
    Session,
    StoreUnavailable,
    access_token,
    client_address,
    get_session,
    require_auth,
    sign_out,
)
from ..accounts import ACCOUNTS
from ..errors import NotFound
from . import use_cases, views
from .answers import answer, for_bearers, user_view, verification_view
from .bodies import Body, Email, NewEmail, NewName, NewPassword, Password, takes
from .operations import operation
from .verified import check_verified, open_to_unverified

routes = web.RouteTableDef()


class Registration(Body):
    chosen = frozenset({"email", "password", "name"})
    email: NewEmail
    password: NewPassword
    name: NewName
    # Without an example: a registration with the examples of the other members is a valid one.
    invitation: Annotated[SecretStr | None, Field(description="From the link in the mail of an invitation.")] = None


class Credentials(Body):
    email: Email
    password: Password


class Login(Credentials):
    remember: bool = False
    transport: Literal["cookie", "bearer"] = "cookie"


class Reauthentication(Body):
    password: Password


class PasswordChange(Body):
    chosen = frozenset({"new_password"})
    current_password: Password
    new_password: NewPassword


@routes.post("/api/auth/register")
@open_to_unverified
@operation("Create an account and sign in", {201: views.Outcome, 202: views.RegistrationTold}, 403, 409, 429)
@takes(Registration)
async def register(request: web.Request, body: Registration) -> web.Response:
    invitation = None if body.invitation is None else body.invitation.get_secret_value()
    user = await use_cases.register(request, body.email, body.password.get_secret_value(), body.name, invitation=invitation)
    if user is None:
        return answer({"message": "check your mail", "verification": "required"}, status=202)
    outcome = _outcome("registration successful", get_session(request))
    return answer({"user": user_view(user), **outcome, **verification_view(request, user)}, status=201)


@routes.post("/api/auth/login")
@open_to_unverified
@operation("Sign in", {200: views.Outcome}, 401, 429)
@takes(Login)
async def login(request: web.Request, body: Login) -> web.Response:
    password, bearer = body.password.get_secret_value(), body.transport == "bearer"
    user = await use_cases.log_in(request, body.email, password, remember=body.remember, bearer=bearer)
    outcome = _outcome("login successful", get_session(request))
    return answer({"user": user_view(user), **outcome, **for_bearers(request), **verification_view(request, user)})


@routes.post("/api/auth/token")
@open_to_unverified
@operation("Sign in, and get an access token", {200: views.Token}, 401, 403, 404, 429)
@takes(Credentials)
async def token(request: web.Request, body: Credentials) -> web.Response:
    manager = request.app[SESSIONS]
    if not manager.has_access_tokens:
        raise NotFound("access tokens are disabled; set JWT_KEYS to enable them")
    if manager.store_state() == "away":
        raise StoreUnavailable("an access token needs a stored session, and Redis is unavailable")
    accounts = request.app[ACCOUNTS]
    user = await accounts.authenticate(body.email, body.password.get_secret_value(), client_address(request))
    check_verified(request, user)
    session = await use_cases.sign_in_as(request, user, degraded=False)
    accounts.count_login(degraded=False)
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
@open_to_unverified
@operation("Sign out and end the session for good", {200: views.Message})
async def logout(request: web.Request) -> web.Response:
    await sign_out(request)
    return answer({"message": "logout successful"})


@routes.get("/api/auth/check")
@open_to_unverified
@operation("Check who is signed in, and for how long", {200: views.Check})
async def check(request: web.Request) -> web.Response:
    session = get_session(request)
    user_id = session.user_id
    if user_id is not None:  # first, because every page makes this call
        return answer(
            {
                "authenticated": True,
                "user_id": user_id,
                "degraded": session.degraded,
                "expires_in": session.expires_in,
            }
        )
    anonymous: dict[str, Any] = {"authenticated": False, "user_id": 0, "degraded": session.degraded, "expires_in": 0}
    if session.ended is not None:
        anonymous["ended"] = session.ended
    return answer(anonymous)


@routes.post("/api/auth/reauthenticate")
@operation("Check the password again and give the session a new id", {200: views.Outcome}, 429, needs_sign_in=True)
@require_auth
@takes(Reauthentication)
async def confirm_password(request: web.Request, body: Reauthentication) -> web.Response:
    user = await use_cases.confirm_password(request, body.password.get_secret_value())
    outcome = _outcome("reauthentication successful", get_session(request))
    return answer({"user": user_view(user), **outcome, **for_bearers(request)})


@routes.post("/api/auth/password")
@open_to_unverified
@operation("Change the password and end every other session", {200: views.PasswordChanged}, 409, 429, needs_sign_in=True)
@require_auth
@takes(PasswordChange)
async def password(request: web.Request, body: PasswordChange) -> web.Response:
    user, revoked = await use_cases.change_password(
        request, body.current_password.get_secret_value(), body.new_password.get_secret_value()
    )
    outcome = _outcome("password changed", get_session(request))
    return answer({"user": user_view(user), **outcome, "revoked": revoked, **for_bearers(request)})


def _outcome(message: str, session: Session) -> dict[str, Any]:
    """The message of a step that gave a new session, with a warning if the session is not stored in Redis yet."""
    if not session.degraded:
        return {"message": message}
    return {
        "message": f"{message} (session storage degraded)",
        "warning": "some features may be limited",
        "degraded": True,
    }
