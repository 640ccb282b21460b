"""Renders the account page, for the handlers of its forms. For an account that must confirm its address first, it is that page.

If a store is unavailable, the page says which details are missing, and shows the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import SESSIONS, StoreUnavailable, Unavailable, flash, get_session
from ..accounts import ACCOUNTS
from ..accounts.mail_tokens import LIFETIME_MS
from ..api import use_cases
from ..api.answers import device_view, session_view, user_view, verification_view
from ..errors import InvalidCredentials, StateroomError, Unauthenticated
from . import words
from .forms import Filled
from .problem_pages import HOME
from .rendering import page, refused, to_page

if TYPE_CHECKING:
    from aiohttp import web

LINK_SECONDS = LIFETIME_MS["verify"] // 1000
"""How long the link in a mail works."""


async def show(request: web.Request, *, notice: str = "") -> web.Response:
    """The page. `notice`: a message that could not be stored."""
    template, context = await _account(request, notice=notice)
    return page(request, template, **context)


async def show_refused(request: web.Request, error: StateroomError, form: Filled) -> web.Response:
    """The page with the errors of one of its forms. Raises errors that lead to the sign-in page."""
    raise_if_signed_out(error)
    template, context = await _account(request, form=form)
    return refused(request, template, error, **context)


async def done(request: web.Request, text: str, *, said_before: str = "") -> web.StreamResponse:
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
        return await show(request, notice=notice)
    return to_page(request, HOME)


def raise_if_signed_out(error: StateroomError) -> None:
    """Raise errors that lead to the sign-in page. The pages show the others."""
    if isinstance(error, Unauthenticated) and not isinstance(error, InvalidCredentials):
        raise error


async def shown_user(request: web.Request) -> dict[str, Any] | None:
    """The signed-in user for a page; None if the user cannot be read now. `address`: as the user typed it.

    Raises `DatabaseUnavailable` if it cannot be known whether the address must be confirmed first.
    """
    try:
        user = await request.app[ACCOUNTS].profile(use_cases.signed_in_user_id(request))
    except Unavailable:
        if request.app[SESSIONS].settings.email_verification == "required":
            raise
        return None
    return {
        **user_view(user),
        "address": user.address,
        "is_unconfirmed": bool(verification_view(request, user)),
        "is_restricted": request.app[ACCOUNTS].is_restricted(user),
    }


async def _account(request: web.Request, *, form: Filled | None = None, notice: str = "") -> tuple[str, dict[str, Any]]:
    """The template and its values. None stands for details that are unavailable now."""
    settings = request.app[SESSIONS].settings
    user = await shown_user(request)
    flashes = await use_cases.take_messages_if_possible(request)
    if notice:
        flashes["flash_success"] = notice
    context = {
        "user": user,
        "flashes": flashes,
        "has_mail": settings.has_mail,
        "link_seconds": LINK_SECONDS,
        "password_min_length": settings.password_min_length,
        "form": form or Filled(),
    }
    if user is not None and user["is_restricted"]:
        return "unconfirmed.html", context
    return "account.html", {
        **context,
        "session": session_view(get_session(request)),
        "devices": await _devices(request),
        "limit": words.devices_at_once(settings.session_max_per_user) if settings.session_max_per_user else "",
    }


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
