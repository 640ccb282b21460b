"""`/confirm`: the password again, for a page of another application that asks for a recent sign-in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from .. import NotSignedIn, check_auth
from ..api import use_cases
from ..errors import ReauthenticationRequired, StateroomError
from . import words
from .account_page import shown_user
from .forms import Filled, check_filled, read_form
from .rendering import login_url, page, refused, see_other
from .way_back import asked_back, rd_of, sent_away

if TYPE_CHECKING:
    from collections.abc import Mapping

routes = web.RouteTableDef()

_SECONDS = re.compile(r"[1-9][0-9]{0,8}")


@routes.get("/confirm")
async def show_confirm(request: web.Request) -> web.StreamResponse:
    """Ask for the password. A user who has just confirmed it, on another page, is sent on at once.

    Forward auth and this page could judge a sign-in of nearly the highest age differently. The browser would then go back and forth
    between them. So this page sends on only if half of the time is left.
    """
    back, fresh = asked_back(request), _fresh_seconds(request.query)
    try:
        check_auth(request, fresh=fresh // 2, access_token=False)
    except NotSignedIn:
        return _to_sign_in(request, back)
    except ReauthenticationRequired:
        return page(request, "confirm_visit.html", **await _context(request, back, fresh), form=Filled())
    return see_other(back)


@routes.post("/confirm")
async def confirm(request: web.Request) -> web.StreamResponse:
    """Check the password, give the session a new id, and go on."""
    form = await read_form(request)
    back = asked_back(request, form)
    password = form.get("password", "")
    try:
        check_auth(request, access_token=False)
        check_filled(password=password)
        await use_cases.confirm_password(request, password)
    except NotSignedIn:
        return _to_sign_in(request, back)
    except StateroomError as error:
        filled = Filled(form, words.of_form(error, current="password"))
        context = await _context(request, back, _fresh_seconds(form))
        return refused(request, "confirm_visit.html", error, **context, form=filled)
    return sent_away(back)


def _to_sign_in(request: web.Request, back: str) -> web.Response:
    """Redirect to the sign-in. After it there is nothing left to confirm."""
    return see_other(login_url(request, rd_of(request, back)))


def _fresh_seconds(sent: Mapping[str, str]) -> int:
    """The highest age of the sign-in that the application accepts; 0 if it is not known."""
    told = sent.get("fresh", "")
    return int(told) if _SECONDS.fullmatch(told) else 0


async def _context(request: web.Request, back: str, fresh: int) -> dict[str, Any]:
    return {"user": await shown_user(request), "rd": rd_of(request, back), "host": urlsplit(back).netloc, "fresh_seconds": fresh}
