"""Forward auth: proxies ask, before they pass a request on, who sent it.

`/auth/forward` is for Traefik, Caddy and HAProxy, `/auth/request` for nginx, `/auth/ext-authz/…` for Envoy: they differ
in what they make of an answer. Identity goes out in headers that are always there, empty where there is nothing to say,
so that a proxy which copies them overwrites what a client has sent. What the client sent is never read. With a yes goes
`Cookie`: what the application behind may see of the request's cookies, which is all but ours, a credential. What cannot
be known is 503: a proxy must not take it for "signed out".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from aiohttp import web

from .. import SESSIONS, Unavailable, browser_origin, forwarded, get_session
from ..accounts import ACCOUNTS
from ..errors import NotFound, SessionEnded, SignInRequired
from ..problems import problem_response
from ..ready import ready_response
from .operations import operation
from .safe_redirect import safe_return

if TYPE_CHECKING:
    from collections.abc import Mapping


routes = web.RouteTableDef()

USER, EMAIL, NAME, DEGRADED = "Remote-User", "Remote-Email", "Remote-Name", "Remote-Session-Degraded"
NAMES_REMEMBERED = 4096
"""Written for a header once, not at each of a user's requests: quoting three takes as long as Redis does."""
_NOBODY = {USER: "", EMAIL: "", NAME: "", DEGRADED: ""}
_URL = re.compile(r"(https?://[^/?#]*)(/.*)?")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@routes.get("/auth/forward")
@operation("Who sent this request: for Traefik, Caddy, HAProxy", {200: "text/plain"}, 302, 401)
async def forward(request: web.Request) -> web.Response:
    """200 with identity; a page that is visited is sent to the sign-in, anything else is told 401."""
    headers = await _identity(request)
    if headers[USER]:
        return _yes(request, headers)
    return _redirect(request) if _navigates(request) else _no(request)


@routes.get("/auth/request")
@operation("Who sent this request: for nginx", {200: "text/plain"}, 401)
async def auth_request(request: web.Request) -> web.Response:
    """200 or 401: of anything else nginx makes a 500. Where to sign in is in Location, for `error_page 401`."""
    headers = await _identity(request)
    if headers[USER]:
        return _yes(request, headers)
    refusal = _no(request)
    refusal.headers["Location"] = _login_url(request)
    return refusal


@routes.route("*", "/auth/ext-authz/{path:(?s:.*)}")
@operation("Who sent this request, of any method: for Envoy", {200: "text/plain"}, 302, 401)
async def ext_authz(request: web.Request) -> web.StreamResponse:
    """Envoy sends the request's own method and path, and takes exactly 200 for a yes."""
    return await forward(request)


HANDLERS = frozenset({forward, auth_request, ext_authz})
"""They repeat the method and origin of a request to another application, which is the one to judge them."""


async def _identity(request: web.Request) -> Mapping[str, str]:
    """Raises `StoreUnavailable`, `DatabaseUnavailable` where it cannot be known."""
    session = get_session(request)
    if not session.is_signed_in:
        return _NOBODY
    email = name = ""
    user_id = session.user_id
    if isinstance(user_id, int):
        try:
            user = await request.app[ACCOUNTS].identity(user_id)
            email, name = user.email, user.name
        except Unavailable:  # who it is stands all the same
            pass
        except NotFound:
            return _NOBODY
    return {
        USER: header_safe(str(user_id)),
        EMAIL: header_safe(email),
        NAME: header_safe(name),
        DEGRADED: "true" if session.degraded else "false",
    }


@lru_cache(NAMES_REMEMBERED)
def header_safe(text: str) -> str:
    """As it is where it is printable ASCII; everything else, and `%`, percent-encoded UTF-8 (RFC 3986, section 2.1)."""
    return quote(text, safe=_PRINTABLE)


def other_cookies(request: web.Request) -> str:
    """The request's cookies without the session's, whatever that is called here. What is not UTF-8 cannot be told."""
    ours = request.app[SESSIONS].settings.session_name
    sent = (pair.strip() for header in request.headers.getall("Cookie", ()) for pair in header.split(";"))
    others = "; ".join(pair for pair in sent if pair and pair.partition("=")[0].rstrip() != ours)
    return others.encode(errors="ignore").decode()


def _yes(request: web.Request, headers: Mapping[str, str]) -> web.Response:
    cookies = other_cookies(request)
    told = {**headers, "Cookie": cookies, "Content-Type": "text/plain", "Cache-Control": "no-store"}
    if not (cookies.isascii() and cookies.isprintable()):
        return web.Response(headers=told)
    return ready_response(b"", "".join([f"{name}: {value}\r\n" for name, value in told.items()]))


def _no(request: web.Request) -> web.Response:
    session = get_session(request)
    refusal = problem_response(SignInRequired() if session.ended is None else SessionEnded(session.ended), request)
    refusal.headers.update(_NOBODY)
    return refusal


def _redirect(request: web.Request) -> web.Response:
    """Traefik reads a path as one under the address that it asks us by, which browsers do not know."""
    location, origin = _login_url(request), _original(request)[1]
    if location.startswith("/") and _ORIGIN.fullmatch(origin):
        location = origin + location
    return web.Response(status=302, headers={**_NOBODY, "Location": location, "Cache-Control": "no-store"})


def _navigates(request: web.Request) -> bool:
    """Whether somebody visits a page: a script, an image or a form would make nothing of a redirect."""
    method = forwarded(request, "X-Forwarded-Method") or request.method
    return (
        method in {"GET", "HEAD"}
        and "text/html" in request.headers.get("Accept", "")
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    )


def _login_url(request: web.Request) -> str:
    """With where to come back to, where that is ours to say. A sign-in under the application's own host needs a path only."""
    settings = request.app[SESSIONS].settings
    path, origin = _original(request)
    original = safe_return(settings, path if settings.login_url.startswith("/") else f"{origin}{path}")
    if original is None:
        return settings.login_url
    joint = "&" if "?" in settings.login_url else "?"
    return f"{settings.login_url}{joint}{urlencode({'rd': original})}"


def _original(request: web.Request) -> tuple[str, str]:
    """Path and origin that the client asked the proxy for, as a trusted one tells them; empty where none does."""
    told = forwarded(request, "X-Original-URL")
    if told:
        found = _URL.fullmatch(told)
        return (found[2] or "/", found[1]) if found else ("", "")
    path = forwarded(request, "X-Forwarded-Uri")
    if not path and "path" in request.match_info and forwarded(request, "X-Forwarded-Proto"):
        path = request.rel_url.raw_path_qs.removeprefix("/auth/ext-authz")
    return (path, browser_origin(request)) if path.startswith("/") else ("", "")
