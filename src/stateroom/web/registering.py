"""New accounts: the registration page `/register`, and the page `/invitation` to which the mail of an invitation leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import SESSIONS
from ..api import use_cases
from ..api.mounts import mounted
from ..api.verified import open_to_unverified
from ..errors import Conflict, FieldError, RegistrationClosed, StateroomError, TokenInvalid
from . import link_words, words
from .account_page import LINK_SECONDS
from .forms import Filled, read_form, token_of
from .notices import Link, notice
from .problem_pages import HOME
from .rendering import is_signed_in, page, refused, see_other
from .way_back import asked_back, rd_of, sent_away

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..accounts import User

routes = web.RouteTableDef()

_SIGN_IN = Link("Sign in", "/login")


@routes.get("/register")
@open_to_unverified
async def show_registration(request: web.Request) -> web.StreamResponse:
    back = asked_back(request)
    if is_signed_in(request):
        return see_other(back)
    if request.app[SESSIONS].settings.registration != "open":
        return _closed(request, RegistrationClosed())
    return page(request, "register.html", **_page_context(request, back), form=Filled())


@routes.post("/register")
@open_to_unverified
async def register(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    back = asked_back(request, form)
    try:
        user = await _registered(request, form, invitation=None)
    except RegistrationClosed as error:
        return _closed(request, error)
    except StateroomError as error:
        filled = Filled(form, words.of_form(error))
        return refused(request, "register.html", error, **_page_context(request, back), form=filled)
    if user is None:
        return page(
            request, "check_mail.html", email=form.get("email", "").strip(), rd=rd_of(request, back), link_seconds=LINK_SECONDS
        )
    return sent_away(back)


@routes.get("/invitation")
@open_to_unverified
async def show_invitation(request: web.Request) -> web.StreamResponse:
    token = request.query.get("token", "")
    if request.app[SESSIONS].settings.registration == "closed":
        return _closed(request, RegistrationClosed())
    if not token:
        return _invalid(request, TokenInvalid())
    if is_signed_in(request):
        return notice(request, link_words.SIGNED_IN_ALREADY, Link("Go to your account", HOME))
    return page(request, "invitation.html", **_invitation_context(request), form=Filled({"token": token}))


@routes.post("/invitation")
@open_to_unverified
async def accept_invitation(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    try:
        await _registered(request, form, invitation=token_of(form))
    except RegistrationClosed as error:
        return _closed(request, error)
    except TokenInvalid as error:
        return _invalid(request, error)
    except StateroomError as error:
        errors = [FieldError("email", link_words.INVITED_TWICE)] if isinstance(error, Conflict) else words.of_form(error)
        return refused(request, "invitation.html", error, **_invitation_context(request), form=Filled(form, errors))
    return sent_away(mounted(request, HOME))


async def _registered(request: web.Request, form: Mapping[str, str], *, invitation: str | None) -> User | None:
    return await use_cases.register(
        request, form.get("email", ""), form.get("password", ""), form.get("name", ""), invitation=invitation
    )


def _closed(request: web.Request, error: RegistrationClosed) -> web.Response:
    is_by_invitation = request.app[SESSIONS].settings.registration == "invited"
    return notice(request, link_words.BY_INVITATION if is_by_invitation else link_words.CLOSED, _SIGN_IN, error=error)


def _invalid(request: web.Request, error: TokenInvalid) -> web.Response:
    return notice(request, link_words.INVITATION_INVALID, _SIGN_IN, error=error)


def _page_context(request: web.Request, back: str) -> dict[str, Any]:
    return {"back": back, "rd": rd_of(request, back), **_invitation_context(request)}


def _invitation_context(request: web.Request) -> dict[str, Any]:
    return {"password_min_length": request.app[SESSIONS].settings.password_min_length}
