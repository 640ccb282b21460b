"""The sign-in page `/login` and the registration page `/register`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .. import SESSIONS, browser_origin, cookie_fate, get_session
from ..api import use_cases
from ..api.safe_redirect import safe_return
from ..errors import REQUIRED, BadInput, FieldError, StateroomError, Unavailable
from . import words
from .forms import Filled, read_form
from .problem_pages import HOME
from .rendering import is_signed_in, page, refused, see_other

routes = web.RouteTableDef()

_REASONS_IN_QUERY = {"logout", "expired"}
"""The reasons that our pages put into the address of the sign-in page, because the browser may not have the cookie any more."""


@routes.get("/login")
async def show_login(request: web.Request) -> web.StreamResponse:
    back = _back(request, request.query.get("rd", ""))
    if is_signed_in(request):
        loss = cookie_fate.lost_there(request, back)
        if loss is None:
            return _sent_away(back)
        return page(request, "cookie_lost.html", lost=words.why_lost(loss), fix=loss.fix)
    reason = _reason(request)
    loss = None if reason else cookie_fate.lost_here(request)
    lost, fix = ("", "") if loss is None else (words.why_lost(loss), loss.fix)
    return page(
        request, "login.html", leads_to=back, **_page_context(request, back), form=Filled(), reason=reason, lost=lost, fix=fix
    )


@routes.post("/login")
async def login(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    back = _back(request, form.get("rd", ""))
    email, password = form.get("email", ""), form.get("password", "")
    try:
        _check_filled(email=email, password=password)
        await use_cases.log_in(request, email, password, remember="remember" in form)
    except StateroomError as error:
        filled = Filled(form, words.of_form(error))
        return refused(
            request, "login.html", error, leads_to=back, **_page_context(request, back), form=filled, reason="", lost="", fix=""
        )
    return _sent_away(back)


@routes.get("/register")
async def show_registration(request: web.Request) -> web.StreamResponse:
    back = _back(request, request.query.get("rd", ""))
    if is_signed_in(request):
        return see_other(back)
    return page(request, "register.html", leads_to=back, **_page_context(request, back), form=Filled())


@routes.post("/register")
async def register(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    back = _back(request, form.get("rd", ""))
    try:
        await use_cases.register(request, form.get("email", ""), form.get("password", ""), form.get("name", ""))
    except StateroomError as error:
        filled = Filled(form, words.of_form(error))
        return refused(request, "register.html", error, leads_to=back, **_page_context(request, back), form=filled)
    return _sent_away(back)


def _sent_away(back: str) -> web.Response:
    """Redirect a signed-in user. If the browser has lost our cookie, its next request still has the trace."""
    answer = see_other(back)
    cookie_fate.leave_trace(answer)
    return answer


def _page_context(request: web.Request, back: str) -> dict[str, Any]:
    settings = request.app[SESSIONS].settings
    return {
        "back": back,
        "rd": "" if back == HOME else back,
        "remember_seconds": settings.session_remember_max_age,
        "password_min_length": settings.password_min_length,
    }


def _back(request: web.Request, asked: str) -> str:
    """The address to open after the sign-in: the requested one if we may redirect there, else the account."""
    return safe_return(request.app[SESSIONS].settings, asked, own_origin=browser_origin(request)) or HOME


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


def _check_filled(**fields: str) -> None:
    """Raise `BadInput` if a field is empty. Such a form does not count as an attempt to sign in."""
    empty = tuple(FieldError(name, REQUIRED) for name, value in fields.items() if not value)
    if empty:
        raise BadInput(errors=empty)
