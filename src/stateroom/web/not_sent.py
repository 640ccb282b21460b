"""`/not-sent`: a form was not sent to another application, because the sign-in did not suffice.

It is for proxies that cannot send the page that forward auth answers (`refusals.py`), and open this one instead. It repeats nothing
of the form.
"""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from .. import get_session
from ..api.verified import open_to_unverified
from ..errors import ReauthenticationRequired, SessionEnded, SignInRequired, StateroomError
from ..problems import problem_response
from . import refusal_words
from .notices import Link, notice
from .problem_pages import accepts_page
from .way_back import asked_back, rd_of

routes = web.RouteTableDef()


@routes.get("/not-sent")
@open_to_unverified
async def show_not_sent(request: web.Request) -> web.StreamResponse:
    """Say that nothing was sent, and lead to the sign-in. A user who is signed in is asked for the password."""
    session = get_session(request)
    error: StateroomError
    rd = rd_of(request, asked_back(request))
    query = f"?{urlencode({'rd': rd})}" if rd else ""
    if session.is_signed_in:
        error, words = ReauthenticationRequired(), refusal_words.NOT_CONFIRMED
        link = Link("Enter your password", f"/confirm{query}")
    else:
        error = SignInRequired() if session.ended is None else SessionEnded(session.ended)
        words, link = refusal_words.NOT_SENT, Link("Sign in", f"/login{query}")
    return notice(request, words, link, error=error) if accepts_page(request) else problem_response(error, request)
