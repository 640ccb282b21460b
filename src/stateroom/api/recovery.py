"""A forgotten password: asking for the mail, and setting a new password by its link."""

from __future__ import annotations

from aiohttp import web

from . import link_use_cases, views
from .answers import answer
from .bodies import Body, NewEmail, NewPassword, Token, takes
from .operations import operation
from .verified import open_to_unverified

routes = web.RouteTableDef()


class Forgotten(Body):
    chosen = frozenset({"email"})
    email: NewEmail


class Reset(Body):
    chosen = frozenset({"new_password"})
    token: Token
    new_password: NewPassword


@routes.post("/api/auth/password/forgot")
@open_to_unverified
@operation("Ask for a mail with which a new password can be set", {202: views.Message}, 404, 429)
@takes(Forgotten)
async def forgot(request: web.Request, body: Forgotten) -> web.Response:
    await link_use_cases.ask_for_reset(request, body.email)
    return answer({"message": "if this address has an account, a mail is on its way"}, status=202)


@routes.post("/api/auth/password/reset")
@open_to_unverified
@operation("Set a new password by its mailed link, and end every session", {200: views.Message}, 429)
@takes(Reset)
async def reset(request: web.Request, body: Reset) -> web.Response:
    await link_use_cases.reset_password(request, body.token.get_secret_value(), body.new_password.get_secret_value())
    return answer({"message": "password changed"})
