"""Where a user goes on after a sign-in: to the address in `rd`, if we may redirect there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import SESSIONS, browser_origin, cookie_fate
from ..api.mounts import mounted
from ..api.safe_redirect import safe_return
from .problem_pages import HOME
from .rendering import see_other

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web


def asked_back(request: web.Request, form: Mapping[str, str] | None = None) -> str:
    """The address to open after the sign-in: the one in `rd` if we may redirect there, else the account.

    The form's `rd` counts. If the form has none, that of the address does, to which an application's own form may be sent.
    """
    asked = (form or {}).get("rd") or request.query.get("rd", "")
    return safe_return(request.app[SESSIONS].settings, asked, own_origin=browser_origin(request)) or mounted(request, HOME)


def rd_of(request: web.Request, back: str) -> str:
    """The value of `rd` for the next page; empty if the account opens anyway."""
    return "" if back == mounted(request, HOME) else back


def sent_away(back: str, again: web.Request | None = None) -> web.Response:
    """Redirect a signed-in user. If the browser has lost our cookie, its next request still has the trace.

    `again`: the request of a user who was signed in before it.
    """
    answer = see_other(back)
    cookie_fate.leave_trace(answer, again)
    return answer
