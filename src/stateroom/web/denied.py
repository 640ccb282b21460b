"""`/denied`: a user who is signed in may not open a page of another application.

It is for proxies that cannot send the page that forward auth answers (`refusals.py`), and open this one instead.
"""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from .. import get_session
from ..api.mounts import mounted
from ..errors import AccessDenied
from ..problems import problem_response
from . import refusal_words
from .notices import Link
from .problem_pages import HOME, accepts_page
from .refusals import signed_in_user
from .rendering import login_url, refused
from .way_back import asked_back, rd_of

routes = web.RouteTableDef()


@routes.get("/denied")
async def show_denied(request: web.Request) -> web.StreamResponse:
    """Say who is signed in, and how to go on. It names no rule."""
    error, is_anonymous = AccessDenied(), not get_session(request).is_signed_in
    if not accepts_page(request):
        return problem_response(error, request)
    back = asked_back(request)
    rd = rd_of(request, back)
    again = Link("Try again", back) if rd else None
    return refused(
        request,
        "refusal.html",
        error,
        words=refusal_words.SIGNED_OUT if is_anonymous else refusal_words.DENIED,
        user=await signed_in_user(request),
        wait="",
        fix="",
        link=Link("Sign in", login_url(request, rd)) if is_anonymous else again,
        use_another="" if is_anonymous else mounted(request, f"/logout?{urlencode({'rd': back})}"),
        can_post=True,
        account=mounted(request, HOME),
        request_id="",
    )
