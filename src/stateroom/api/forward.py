"""Forward auth: a proxy asks who sent a request before it passes the request on.

`/auth/forward` is for Traefik, Caddy and HAProxy, `/auth/request` for nginx, `/auth/ext-authz/…` for Envoy. These proxies
treat a response differently.

The response names the user in headers. All of them are present with 200, 302 and 401, and empty if there is nothing to say. So a
proxy that copies them overwrites the client's headers with these names. We never read the client's. A response with 200 also has
`Cookie` and `Authorization`: the request's own, without our credentials, which the application behind the proxy must not see. If
the user cannot be known, the response is 503, so that the proxy does not treat the user as signed out.
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
from ..origins import plain_origin
from ..problems import problem_response
from ..ready import ready_response
from .operations import operation
from .safe_redirect import safe_return

if TYPE_CHECKING:
    from collections.abc import Mapping


routes = web.RouteTableDef()

USER, EMAIL, NAME, DEGRADED = "Remote-User", "Remote-Email", "Remote-Name", "Remote-Session-Degraded"
NAMES_REMEMBERED = 4096
"""How many quoted header values are kept. To quote three of them takes as long as a command of Redis."""
_NOBODY = {USER: "", EMAIL: "", NAME: "", DEGRADED: ""}
_URL = re.compile(r"((?:https?|wss?)://[^/?#]*)(/.*)?")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_CREDENTIAL = re.compile(r"[\w.+/-]+", re.ASCII)
"""A word that may be one: the characters of base64, of base64url, and the dots of a JSON Web Token."""
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@routes.get("/auth/forward")
@operation("Tell Traefik, Caddy or HAProxy who sent a request", {200: "text/plain"}, 302, 401)
async def forward(request: web.Request) -> web.Response:
    """Answer 200 with the user. If nobody is signed in, redirect page visits to the sign-in and answer 401 to others."""
    headers = await _identity(request)
    if headers[USER]:
        return _yes(request, headers)
    return _redirect(request) if _navigates(request) else _no(request)


@routes.get("/auth/request")
@operation("Tell nginx who sent a request", {200: "text/plain"}, 401)
async def auth_request(request: web.Request) -> web.Response:
    """Answer 200 or 401, because nginx turns any other status into 500. `Location` names the sign-in, for `error_page 401`."""
    headers = await _identity(request)
    if headers[USER]:
        return _yes(request, headers)
    refusal = _no(request)
    refusal.headers["Location"] = _login_url(request)
    return refusal


@routes.route("*", "/auth/ext-authz/{path:(?s:.*)}")
@operation("Tell Envoy who sent a request, of any method", {200: "text/plain"}, 302, 401)
async def ext_authz(request: web.Request) -> web.StreamResponse:
    """Answer as `forward`. Envoy sends the original method and path, and only 200 lets the request pass."""
    return await forward(request)


HANDLERS = frozenset({forward, auth_request, ext_authz})
"""The handlers that are exempt from the check of `Origin`. A proxy repeats the method and origin of a request to another
application here, and that application must check them."""


async def _identity(request: web.Request) -> Mapping[str, str]:
    """The headers that name the user. Raises `StoreUnavailable` or `DatabaseUnavailable` if the user cannot be known."""
    session = get_session(request)
    if not session.is_signed_in:
        return _NOBODY
    email = name = ""
    user_id = session.user_id
    if isinstance(user_id, int):
        try:
            user = await request.app[ACCOUNTS].identity(user_id)
            email, name = user.email if user.is_verified else "", user.name  # a stranger may have typed the address
        except Unavailable:  # the user's id is still known
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
    """The text with `%` and everything but printable ASCII percent-encoded as UTF-8 (RFC 3986, section 2.1)."""
    return quote(text, safe=_PRINTABLE)


def other_cookies(request: web.Request) -> str:
    """The request's cookies without the session cookie. Bytes that are not UTF-8 are left out."""
    ours = request.app[SESSIONS].settings.session_name
    sent = (pair.strip() for header in _sent(request, "Cookie") for pair in header.split(";"))
    return "; ".join(pair for pair in sent if pair and pair.partition("=")[0].rstrip() != ours)


def other_authorization(request: web.Request) -> str:
    """The request's `Authorization`, or nothing if any word in it is a credential of ours, whether good, expired or ended.

    Bytes that are not UTF-8 are left out. Several headers become one, as RFC 9110 (section 5.3) lets proxies join them.
    """
    sent = ", ".join(_sent(request, "Authorization"))
    recognises = request.app[SESSIONS].recognises
    return "" if any(recognises(word) for word in _CREDENTIAL.findall(sent)) else sent


def _sent(request: web.Request, name: str) -> list[str]:
    """The values of a header as the application gets them, without bytes that are not UTF-8."""
    return [value.encode(errors="ignore").decode() for value in request.headers.getall(name, ())]


def _yes(request: web.Request, headers: Mapping[str, str]) -> web.Response:
    cookies, authorization = other_cookies(request), other_authorization(request)
    sent = {
        **headers, "Cookie": cookies, "Authorization": authorization, "Content-Type": "text/plain", "Cache-Control": "no-store",
    }  # fmt: skip
    repeated = cookies + authorization
    if not (repeated.isascii() and repeated.isprintable()):
        return web.Response(headers=sent)
    return ready_response(b"", "".join([f"{name}: {value}\r\n" for name, value in sent.items()]))


def _no(request: web.Request) -> web.Response:
    session = get_session(request)
    refusal = problem_response(SignInRequired() if session.ended is None else SessionEnded(session.ended), request)
    refusal.headers.update(_NOBODY)
    return refusal


def _redirect(request: web.Request) -> web.Response:
    """Redirect to the sign-in, with the origin that the browser knows.

    Traefik would complete a mere path with the address at which it asks us, and browsers cannot reach that address.
    """
    location, origin = _login_url(request), _original(request)[1]
    if location.startswith("/") and _ORIGIN.fullmatch(origin):
        location = origin + location
    return web.Response(status=302, headers={**_NOBODY, "Location": location, "Cache-Control": "no-store"})


def _navigates(request: web.Request) -> bool:
    """Whether a browser visits a page. A redirect is of no use to a script, an image or a form."""
    method = forwarded(request, "X-Forwarded-Method") or request.method
    return (
        method in {"GET", "HEAD"}
        and "text/html" in request.headers.get("Accept", "")
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    )


def _login_url(request: web.Request) -> str:
    """The address of the sign-in. Its `rd` names the page to return to, if we may redirect there.

    If the sign-in is on the application's own host, `rd` is only a path.
    """
    settings = request.app[SESSIONS].settings
    path, origin = _original(request)
    original = safe_return(settings, path if settings.login_url.startswith("/") else f"{origin}{path}")
    if original is None:
        return settings.login_url
    joint = "&" if "?" in settings.login_url else "?"
    return f"{settings.login_url}{joint}{urlencode({'rd': original})}"


def _original(request: web.Request) -> tuple[str, str]:
    """The path and origin that the client asked the proxy for. Empty unless a trusted proxy names them."""
    original = forwarded(request, "X-Original-URL")
    if original:
        found = _URL.fullmatch(original)
        return (found[2] or "/", plain_origin(found[1])) if found else ("", "")
    path = forwarded(request, "X-Forwarded-Uri")
    if not path and "path" in request.match_info and forwarded(request, "X-Forwarded-Proto"):
        path = request.rel_url.raw_path_qs.removeprefix("/auth/ext-authz")
    return (path, browser_origin(request)) if path.startswith("/") else ("", "")
