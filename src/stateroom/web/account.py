"""`/account`: the user's profile, devices and password.

If a store is unavailable, the page says which details are missing, and shows the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import SESSIONS, StoreUnavailable, Unavailable, check_auth, flash, get_session, sign_out
from ..accounts import ACCOUNTS
from ..api import use_cases
from ..api.answers import device_view, session_view, user_view
from ..errors import InvalidCredentials, NotFound, ReauthenticationRequired, StateroomError, Unauthenticated
from ..plurals import counted
from . import words
from .forms import Filled, read_form
from .problem_pages import HOME
from .rendering import login_url, page, refused, see_other

if TYPE_CHECKING:
    from collections.abc import Mapping

routes = web.RouteTableDef()

REVOKE, REVOKE_OTHERS = "revoke", "revoke-others"


@routes.get("/account")
async def show_account(request: web.Request) -> web.StreamResponse:
    check_auth(request)
    return page(request, "account.html", **await _account_context(request))


@routes.get("/account/password")
@routes.get("/account/confirm")
@routes.get("/account/revoke")
@routes.get("/account/revoke-others")
@routes.get("/account/sign-out")
async def redirect_to_account(request: web.Request) -> web.StreamResponse:
    """Redirect to the account. A browser may open the address of a form again with GET."""
    return see_other(HOME)


@routes.post("/account/password")
async def change_password(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    check_auth(request)
    try:
        await use_cases.change_password(request, form.get("current_password", ""), form.get("new_password", ""))
    except StateroomError as error:
        _raise_if_signed_out(error)
        filled = Filled(form, words.of_form(error, is_signed_in=True))
        return refused(request, "account.html", error, **await _account_context(request, password_form=filled))
    return await _done(request, "Every other device was signed out.", said_before="Password changed.")


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
        _raise_if_signed_out(error)
        filled = Filled(form, words.of_form(error, is_signed_in=True))
        return refused(request, "confirm.html", error, **await _confirm_context(request, form), form=filled)
    return await _take_step(request, form.get("then", ""), form)


@routes.post("/account/sign-out")
async def leave(request: web.Request) -> web.StreamResponse:
    await read_form(request)
    await sign_out(request)
    return see_other(login_url(signed_out="logout"))


async def _take_step(request: web.Request, step: str, form: Mapping[str, str]) -> web.StreamResponse:
    try:
        match step:
            case "revoke":
                return await _revoke(request, form.get("id", ""))
            case "revoke-others":
                return await _done(request, _how_many(await use_cases.revoke_all_others(request)))
    except ReauthenticationRequired:
        about = await _confirm_context(request, {**form, "then": step})
        return page(request, "confirm.html", **about, form=Filled())
    return see_other(HOME)


async def _revoke(request: web.Request, handle: str) -> web.StreamResponse:
    is_own = handle == get_session(request).id
    try:
        is_known = await use_cases.revoke(request, handle)
    except NotFound:
        return await _done(request, "That device was already signed out.")
    if is_own:
        return see_other(login_url(signed_out="logout"))
    return await _done(request, "The device was signed out." if is_known else "The device is signed out now.")


def _how_many(revoked: int | None) -> str:
    if revoked is None:
        return "All other devices are signed out."
    if not revoked:
        return "You were signed in on this device only."
    return f"{counted(revoked, 'other device')} {'was' if revoked == 1 else 'were'} signed out."


async def _done(request: web.Request, text: str, *, said_before: str = "") -> web.StreamResponse:
    """Leave a message and redirect to the account. If no message can be stored, respond with the account page itself.

    `said_before`: the message that the step itself leaves. The page shows it too, because that message could not be stored either.
    """
    session = get_session(request)
    try:
        flash(session, "success", text)
        await session.save()
    except StoreUnavailable:
        session.discard_changes()
        notice = "\n".join(filter(None, (said_before, text)))
        return page(request, "account.html", **await _account_context(request, notice=notice))
    return see_other(HOME)


async def _account_context(request: web.Request, *, password_form: Filled | None = None, notice: str = "") -> dict[str, Any]:
    """The values for the account page's template. None stands for details that are unavailable now."""
    session = get_session(request)
    settings = request.app[SESSIONS].settings
    flashes = await use_cases.take_messages_if_possible(request)
    if notice:
        flashes["flash_success"] = notice
    user = await _user(request)
    return {
        "user": user,
        "session": session_view(session),
        "devices": await _devices(request),
        "flashes": flashes,
        "limit": words.devices_at_once(settings.session_max_per_user) if settings.session_max_per_user else "",
        "password_min_length": settings.password_min_length,
        "form": password_form or Filled(),
    }


async def _confirm_context(request: web.Request, form: Mapping[str, str]) -> dict[str, Any]:
    return {
        "user": await _user(request),
        "then": form.get("then", ""),
        "handle": form.get("id", ""),
        "fresh_seconds": request.app[SESSIONS].settings.fresh_max_age,
    }


async def _user(request: web.Request) -> dict[str, Any] | None:
    try:
        return user_view(await request.app[ACCOUNTS].profile(use_cases.signed_in_user_id(request)))
    except Unavailable:
        return None


async def _devices(request: web.Request) -> list[dict[str, Any]] | None:
    session = get_session(request)
    if session.degraded:
        return None
    try:
        found = await request.app[SESSIONS].list(use_cases.signed_in_user_id(request))
    except StoreUnavailable:
        return None
    views = [device_view(info, session.id) for info in found]
    return sorted(views, key=lambda view: not view["current"])


def _raise_if_signed_out(error: StateroomError) -> None:
    """Raise errors that lead to the sign-in page. The account page shows the others."""
    if isinstance(error, Unauthenticated) and not isinstance(error, InvalidCredentials):
        raise error
