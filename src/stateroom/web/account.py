"""`/account`: the user's profile, devices and password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import SESSIONS, check_auth, get_session, sign_out
from ..api import use_cases
from ..api.verified import open_to_unverified
from ..errors import NotFound, ReauthenticationRequired, StateroomError
from ..plurals import counted
from . import words
from .account_page import done, raise_if_signed_out, show, show_refused, shown_user
from .forms import Filled, read_form
from .problem_pages import HOME
from .rendering import login_url, page, refused, see_other, to_page

if TYPE_CHECKING:
    from collections.abc import Mapping

routes = web.RouteTableDef()

REVOKE, REVOKE_OTHERS = "revoke", "revoke-others"


@routes.get("/account")
async def show_account(request: web.Request) -> web.StreamResponse:
    check_auth(request)
    return await show(request)


@routes.get("/account/password")
@routes.get("/account/email")
@routes.get("/account/verification")
@routes.get("/account/confirm")
@routes.get("/account/revoke")
@routes.get("/account/revoke-others")
@routes.get("/account/sign-out")
async def redirect_to_account(request: web.Request) -> web.StreamResponse:
    """Redirect to the account. A browser may open the address of a form again with GET."""
    return to_page(request, HOME)


@routes.post("/account/password")
@open_to_unverified
async def change_password(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    check_auth(request)
    try:
        await use_cases.change_password(request, form.get("current_password", ""), form.get("new_password", ""))
    except StateroomError as error:
        return await show_refused(request, error, Filled(form, words.of_form(error, current="current_password")))
    return await done(request, "Every other device was signed out.", said_before="Password changed.")


@routes.post("/account/revoke")
async def revoke(request: web.Request) -> web.StreamResponse:
    return await _take_step(request, REVOKE, await read_form(request))


@routes.post("/account/revoke-others")
async def revoke_others(request: web.Request) -> web.StreamResponse:
    return await _take_step(request, REVOKE_OTHERS, await read_form(request))


@routes.post("/account/confirm")
async def confirm(request: web.Request) -> web.StreamResponse:
    """Check the password again, for a step that needs a fresh sign-in. Then take that step."""
    form = await read_form(request)
    check_auth(request)
    try:
        await use_cases.confirm_password(request, form.get("current_password", ""))
    except StateroomError as error:
        raise_if_signed_out(error)
        filled = Filled(form, words.of_form(error, current="current_password"))
        return refused(request, "confirm.html", error, **await _confirm_context(request, form), form=filled)
    return await _take_step(request, form.get("then", ""), form)


@routes.post("/account/sign-out")
@open_to_unverified
async def leave(request: web.Request) -> web.StreamResponse:
    await read_form(request)
    await sign_out(request)
    return see_other(login_url(request, signed_out="logout"))


async def _take_step(request: web.Request, step: str, form: Mapping[str, str]) -> web.StreamResponse:
    try:
        match step:
            case "revoke":
                return await _revoke(request, form.get("id", ""))
            case "revoke-others":
                return await done(request, _how_many(await use_cases.revoke_all_others(request)))
    except ReauthenticationRequired:
        about = await _confirm_context(request, {**form, "then": step})
        return page(request, "confirm.html", **about, form=Filled())
    return to_page(request, HOME)


async def _revoke(request: web.Request, handle: str) -> web.StreamResponse:
    is_own = handle == get_session(request).id
    try:
        is_known = await use_cases.revoke(request, handle)
    except NotFound:
        return await done(request, "That device was already signed out.")
    if is_own:
        return see_other(login_url(request, signed_out="logout"))
    return await done(request, "The device was signed out." if is_known else "The device is signed out now.")


def _how_many(revoked: int | None) -> str:
    if revoked is None:
        return "All other devices are signed out."
    if not revoked:
        return "You were signed in on this device only."
    return f"{counted(revoked, 'other device')} {'was' if revoked == 1 else 'were'} signed out."


async def _confirm_context(request: web.Request, form: Mapping[str, str]) -> dict[str, Any]:
    return {
        "user": await shown_user(request),
        "then": form.get("then", ""),
        "handle": form.get("id", ""),
        "fresh_seconds": request.app[SESSIONS].settings.fresh_max_age,
    }
