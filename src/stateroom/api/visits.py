"""A browser's visit to another application, for the pages that are shown if forward auth refuses it.

Forward auth notes the visit on its request (`request[VISIT]`). `web/refusals.py` then shows each problem of this request as a page.
The shipped configurations send it to the browser as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from .mounts import OWN

if TYPE_CHECKING:
    from .. import Settings


@dataclass(frozen=True, slots=True)
class Visit:
    """A page of another application that a browser opens, or a form that it sends there.

    `back`: the address to which a sign-in may return: a path or URL that `safe_return` has checked; empty if there is none. For a
    form it is the page with the form, if the browser tells it.
    """

    back: str
    is_form: bool = False


VISIT = web.RequestKey("stateroom_visit", Visit)


def sign_in_url(settings: Settings, back: str = "") -> str:
    """The address of the sign-in: `LOGIN_URL`. `back`: where it leads to; empty for the account."""
    return _with_query(settings.login_url, {"rd": back})


def page_url(settings: Settings, path: str, **query: str) -> str:
    """The address of another page of ours, beside the sign-in: with `LOGIN_URL=/.stateroom/login`, `/confirm` is
    `/.stateroom/confirm`. Empty values of the query are left out.
    """
    return _with_query(f"{pages_prefix(settings)}{path}", query)


def confirm_url(settings: Settings, back: str, fresh_seconds: float | None = None) -> str:
    """The address of the page that asks for the password again. It leads to `back`.

    `fresh_seconds`: the highest age of the sign-in that a rule accepts. The page asks nothing if the sign-in is much younger.
    """
    return page_url(settings, "/confirm", rd=back, fresh="" if fresh_seconds is None else str(int(fresh_seconds)))


def pages_prefix(settings: Settings) -> str:
    """What the addresses of our pages begin with, as seen from another application: a path, or a URL of another host.

    If `LOGIN_URL` is a page that is not ours, it tells nothing. The shipped configurations route `/.stateroom/` to us.
    """
    address = settings.login_url.partition("?")[0]
    return address.removesuffix("/login") if address.endswith("/login") else OWN


def _with_query(address: str, query: dict[str, str]) -> str:
    sent = urlencode({name: value for name, value in query.items() if value})
    return f"{address}{'&' if '?' in address else '?'}{sent}" if sent else address
