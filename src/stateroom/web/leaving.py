"""`/logout`: signs out and leads back, for a link or a form of another application.

Opening the page signs nobody out, because any site can make a browser open it. The page shows a button. It shows it to everybody:
with `COOKIE_SAMESITE=Strict`, a browser that follows a link from another site does not tell us that the user is signed in.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from .. import sign_out
from ..api.verified import open_to_unverified
from .forms import check_is_ours, read_form
from .rendering import login_url, page, see_other
from .way_back import asked_back, rd_of

routes = web.RouteTableDef()


@routes.get("/logout")
@open_to_unverified
async def show_logout(request: web.Request) -> web.StreamResponse:
    """Ask, with one button."""
    back = asked_back(request)
    rd = rd_of(request, back)
    return page(request, "logout.html", rd=rd, back=back, host=urlsplit(back).netloc)


@routes.post("/logout")
@open_to_unverified
async def logout(request: web.Request) -> web.StreamResponse:
    """Sign out, and lead to `rd` of the form or of the address; without it to the sign-in page.

    The form must come from our own origin, as every form. An application on another host can link to this page, or send its form
    to `/.stateroom/logout` of its own host.
    """
    if request.can_read_body:
        form = await read_form(request)
    else:
        check_is_ours(request)
        form = {}
    rd = rd_of(request, asked_back(request, form))
    await sign_out(request)
    return see_other(rd or login_url(request, signed_out="logout"))
