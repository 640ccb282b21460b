"""The address of an account: `/verify`, to which the mails lead, and the forms to change it and to get the mail again."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from .. import check_auth, get_session
from ..accounts import ACCOUNTS
from ..api import link_use_cases, use_cases
from ..api.mounts import mounted
from ..api.verified import open_to_unverified
from ..errors import Conflict, FieldError, StateroomError, TokenInvalid
from . import link_words, words
from .account_page import done, show, show_refused
from .forms import Filled, check_filled, read_form, token_of
from .notices import Link, notice
from .problem_pages import HOME, VERIFY
from .rendering import is_signed_in, page, refused, to_page

routes = web.RouteTableDef()

_TO_ACCOUNT = Link("Go to your account", HOME)


@routes.get(VERIFY)
@open_to_unverified
async def show_verify(request: web.Request) -> web.StreamResponse:
    """Show a button. Mail scanners open links too, so this does not even check the token.

    Without a token: the page of an account that must confirm its address first.
    """
    token = request.query.get("token", "")
    if token:
        asks = not is_signed_in(request)
        back = mounted(request, f"{VERIFY}?token={quote(token, safe='')}") if asks else ""
        return _page(request, Filled({"token": token}), asks=asks, back=back)
    check_auth(request)
    if await request.app[ACCOUNTS].must_still_verify(use_cases.signed_in_user_id(request)):
        return await show(request)
    return to_page(request, HOME)


@routes.post(VERIFY)
@open_to_unverified
async def verify(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    password = form.get("password", "")
    own_id = get_session(request).user_id
    try:
        token = token_of(form)
        if own_id is None:
            check_filled(password=password)
        user = await link_use_cases.confirm_email(request, token, password or None)
    except TokenInvalid as error:
        if own_id is not None and "token" in form and "password" not in form:  # it may be for another account: ask for its password
            return _page(request, Filled(form, [FieldError("password", link_words.NOT_THIS_ACCOUNT)]), asks=True, error=error)
        return notice(request, link_words.CONFIRMATION_INVALID, _TO_ACCOUNT, error=error)
    except Conflict as error:
        return notice(request, link_words.ADDRESS_TAKEN, _TO_ACCOUNT, error=error)
    except StateroomError as error:
        asks = own_id is None or "password" in form
        return _page(request, Filled(form, words.of_form(error, current="password")), asks=asks, error=error)
    if own_id is None:
        return to_page(request, "/login?done=confirmed")
    return await done(request, link_words.CONFIRMED if user.id == own_id else link_words.OTHER_CONFIRMED)


@routes.post("/account/verification")
@open_to_unverified
async def send_again(request: web.Request) -> web.StreamResponse:
    await read_form(request)
    check_auth(request)
    try:
        await link_use_cases.ask_to_verify(request)
    except StateroomError as error:
        return await show_refused(request, error, Filled({}, words.of_mail_request(error)))
    return await done(request, link_words.MAIL_SENT_AGAIN)


@routes.post("/account/email")
@open_to_unverified
async def change_email(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    check_auth(request)
    email, password = form.get("email", ""), form.get("password", "")
    try:
        check_filled(email=email, password=password)
        await link_use_cases.ask_to_change_email(request, email, password)
    except StateroomError as error:
        return await show_refused(request, error, Filled(form, words.of_form(error, current="password")))
    return await done(request, link_words.mail_sent(email.strip()))


def _page(request: web.Request, form: Filled, *, asks: bool, back: str = "", error: StateroomError | None = None) -> web.Response:
    """The page with the button. `asks`: whether it asks for the account's password. `back`: its own address."""
    context: dict[str, Any] = {"form": form, "asks": asks, "back": back}
    return page(request, "verify.html", **context) if error is None else refused(request, "verify.html", error, **context)
