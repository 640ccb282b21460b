"""A forgotten password: `/forgot` asks for a mail, and the link in it leads to `/reset`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .. import SESSIONS
from ..api import link_use_cases
from ..api.verified import open_to_unverified
from ..errors import NotFound, StateroomError, TokenInvalid
from . import link_words, words
from .account_page import LINK_SECONDS, done
from .forms import Filled, check_filled, read_form, token_of
from .notices import Link, notice
from .rendering import is_signed_in, page, refused, to_page

routes = web.RouteTableDef()


@routes.get("/forgot")
@open_to_unverified
async def show_forgot(request: web.Request) -> web.StreamResponse:
    if not request.app[SESSIONS].settings.has_mail:
        return _without_mail(request, NotFound())
    return page(request, "forgot.html", form=Filled())


@routes.post("/forgot")
@open_to_unverified
async def forgot(request: web.Request) -> web.StreamResponse:
    """Ask for the mail. The page is the same whether or not the address has an account."""
    form = await read_form(request)
    email = form.get("email", "")
    try:
        await link_use_cases.ask_for_reset(request, email)
    except NotFound as error:
        return _without_mail(request, error)
    except StateroomError as error:
        return refused(request, "forgot.html", error, form=Filled(form, words.of_mail_request(error)))
    return page(request, "forgot_sent.html", email=email.strip(), link_seconds=LINK_SECONDS)


@routes.get("/reset")
@open_to_unverified
async def show_reset(request: web.Request) -> web.StreamResponse:
    """Show the form. Mail scanners open links too, so this does not even check the token."""
    token = request.query.get("token", "")
    if not token:
        return _invalid(request, TokenInvalid())
    return page(request, "reset.html", **_reset_context(request), form=Filled({"token": token}))


@routes.post("/reset")
@open_to_unverified
async def reset(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    new = form.get("new_password", "")
    try:
        token = token_of(form)
        check_filled(new_password=new)
        await link_use_cases.reset_password(request, token, new)
    except TokenInvalid as error:
        return _invalid(request, error)
    except StateroomError as error:
        filled = Filled(form, words.of_form(error, current="new_password"))
        return refused(request, "reset.html", error, **_reset_context(request), form=filled)
    if is_signed_in(request):
        return await done(request, link_words.OTHER_PASSWORD_SET)
    return to_page(request, "/login?done=reset")


def _reset_context(request: web.Request) -> dict[str, Any]:
    return {"password_min_length": request.app[SESSIONS].settings.password_min_length}


def _without_mail(request: web.Request, error: NotFound) -> web.Response:
    return notice(request, link_words.NO_RESET_BY_MAIL, Link("Back to the sign-in", "/login"), error=error)


def _invalid(request: web.Request, error: TokenInvalid) -> web.Response:
    return notice(request, link_words.RESET_INVALID, Link("Ask for a new mail", "/forgot"), error=error)
