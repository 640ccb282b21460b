"""The sign-in page `/login`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .. import SESSIONS, cookie_fate, get_session
from ..api import use_cases
from ..api.verified import open_to_unverified
from ..errors import StateroomError, Unavailable
from . import link_words, words
from .forms import Filled, check_filled, read_form
from .rendering import is_signed_in, page, refused
from .way_back import asked_back, rd_of, sent_away

routes = web.RouteTableDef()

_REASONS_IN_QUERY = {"logout", "expired"}
"""The reasons that our pages put into the address of the sign-in page, because the browser may not have the cookie any more."""


@routes.get("/login")
@open_to_unverified
async def show_login(request: web.Request) -> web.StreamResponse:
    back = asked_back(request)
    if is_signed_in(request):
        loss = cookie_fate.lost_there(request, back)
        if loss is None:
            return sent_away(back, request)
        return page(request, "cookie_lost.html", lost=words.why_lost(loss), fix=loss.fix)
    told = link_words.of_done(request.query.get("done", ""))
    reason = "" if told else _reason(request)
    loss = None if told or reason else cookie_fate.lost_here(request)
    lost, fix = ("", "") if loss is None else (words.why_lost(loss), loss.fix)
    context = {**_page_context(request, back), "told": told, "reason": reason, "lost": lost, "fix": fix}
    return page(request, "login.html", **context, form=Filled())


@routes.post("/login")
@open_to_unverified
async def login(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    back = asked_back(request, form)
    email, password = form.get("email", ""), form.get("password", "")
    try:
        check_filled(email=email, password=password)
        await use_cases.log_in(request, email, password, remember="remember" in form)
    except StateroomError as error:
        filled = Filled(form, words.of_form(error))
        context = {**_page_context(request, back), "told": "", "reason": "", "lost": "", "fix": ""}
        return refused(request, "login.html", error, **context, form=filled)
    return sent_away(back)


def _page_context(request: web.Request, back: str) -> dict[str, Any]:
    settings = request.app[SESSIONS].settings
    return {
        "back": back,
        "rd": rd_of(request, back),
        "remember_seconds": settings.session_remember_max_age,
        "can_reset": settings.has_mail,
        "can_register": settings.registration == "open",
    }


def _reason(request: web.Request) -> str:
    """The sentence that says why the session has ended; empty if none has ended, or if that cannot be known now."""
    try:
        ended = get_session(request).ended
    except Unavailable:
        ended = None
    if ended is None:
        told = request.query.get("signed-out", "")
        ended = told if told in _REASONS_IN_QUERY else None
    return words.why_signed_out(ended, request.app[SESSIONS].settings) if ended is not None else ""
