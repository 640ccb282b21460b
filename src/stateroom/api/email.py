"""The address of an account: confirming it, asking for the mail again, changing it."""

from __future__ import annotations

from aiohttp import web

from .. import require_auth
from . import link_use_cases, views
from .answers import answer, user_view
from .bodies import Body, NewEmail, Password, Token, takes
from .operations import operation
from .verified import open_to_unverified

routes = web.RouteTableDef()


class Confirmation(Body):
    token: Token
    password: Password | None = None


class EmailChange(Body):
    chosen = frozenset({"email"})
    email: NewEmail
    password: Password


@routes.post("/api/auth/email/verify")
@open_to_unverified
@operation("Confirm an address by its mailed link, signed in or with the password", {200: views.Confirmed}, 401, 409, 429)
@takes(Confirmation)
async def verify(request: web.Request, body: Confirmation) -> web.Response:
    password = None if body.password is None else body.password.get_secret_value()
    user = await link_use_cases.confirm_email(request, body.token.get_secret_value(), password)
    return answer({"user": user_view(user), "message": "email verified"})


@routes.post("/api/auth/email/verification")
@open_to_unverified
@operation("Mail the verification link again", {202: views.Message}, 404, 429, needs_sign_in=True)
@require_auth
async def verification(request: web.Request) -> web.Response:
    await link_use_cases.ask_to_verify(request)
    return answer({"message": "mail sent"}, status=202)


@routes.post("/api/auth/email")
@open_to_unverified
@operation("Mail a link to a new address, and change nothing yet", {202: views.Message}, 404, 409, 429, needs_sign_in=True)
@require_auth
@takes(EmailChange)
async def email(request: web.Request, body: EmailChange) -> web.Response:
    await link_use_cases.ask_to_change_email(request, body.email, body.password.get_secret_value())
    return answer({"message": "mail sent to the new address"}, status=202)
