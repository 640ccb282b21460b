"""Finds out why the browser dropped our cookie.

A browser that drops our cookie reports nothing: the user signs in with the right password and sees the sign-in page again, and
forward auth redirects the browser in a circle. So the response to a sign-in also sets a trace: a cookie without a secret and
without the attributes because of which browsers drop cookies. If the browser sends the trace but not the session cookie, it
dropped that one. The settings and the address show why (RFC 6265, section 5.3; RFC 6265bis, sections 4.1.3 and 5.7).

The trace also counts how often a signed-in user was sent on. Whatever makes a circle, it ends before the browser gives up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ..logs import get_logger
from ..settings.values import TRACE_COOKIE
from .doubled_cookies import advice
from .request_session import get_request_session
from .transport import read_cookie

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDict

    from ..settings import Settings

log = get_logger(__name__)


TRACE_SECONDS = 60
"""How long the browser keeps the trace of a sign-in, or of a redirect of a signed-in user."""

MOST_RETURNS = 4
"""A user who comes back more often goes round in a circle. Browsers give up after 20 redirects, and each round has at least two
(https://fetch.spec.whatwg.org/#http-redirect-fetch)."""
_COUNT = re.compile(r"[1-9]")

Cause = Literal["http", "domain", "other-host", "path", "circle", "doubled", "unknown"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Why the session cookie does not arrive. `host`: where it should arrive. `fix`: what the operator can do, with the setting."""

    cause: Cause
    host: str
    fix: str


def leave_trace(response: web.StreamResponse, request: web.Request | None = None) -> None:
    """Set the trace. Call it on the response to a sign-in, and on the redirect of a user who is signed in already.

    `request`: that of a user who is signed in already. It is counted how often the user comes back.
    """
    count = str(min(9, _returns(request) + 1)) if request is not None else "1"
    # Lax, because forward auth of another site may send the browser back to us. It is not `Partitioned` with the session cookie:
    # in a frame of another site both are dropped for the same causes, and then it would tell nothing.
    response.set_cookie(TRACE_COOKIE, count, max_age=TRACE_SECONDS, path="/", httponly=True, samesite="Lax")


def remove_trace(request: web.Request, response: web.StreamResponse) -> None:
    """Remove the trace. Call it if the session cookie has arrived, or if we delete it: then the cookie is not lost."""
    if TRACE_COOKIE in request.cookies:
        response.del_cookie(TRACE_COOKIE, path="/", httponly=True, samesite="Lax")


def drop_trace(headers: CIMultiDict[str]) -> None:
    """`remove_trace`, for headers that are about to leave."""
    headers.add("Set-Cookie", f"{TRACE_COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax")


def lost_here(request: web.Request) -> Loss | None:
    """Why the browser did not send the cookie of a sign-in in the last minute. None if it did, or if there was no sign-in.

    Raises `RuntimeError` if the application was not set up.
    """
    frontend = get_request_session(request).frontend
    if read_cookie(request, f"{TRACE_COOKIE}=") is None:
        return None
    settings, origin, name = frontend.manager.settings, frontend.proxies.origin(request), frontend.jar.name
    doubled = get_request_session(request).doubled
    if doubled is not None and doubled.outcome == "ambiguous":
        return _told(Loss("doubled", _host(origin), advice(name)))
    if _is_sent(request, name):
        return None
    return _told(_loss(settings, origin, "", is_secure=frontend.jar.is_secure))


def lost_there(request: web.Request, target: str) -> Loss | None:
    """Why our cookie, which reaches us, does not reach the address `target`: a URL, or a path of our own host.

    None if it may reach it. Raises `RuntimeError` if the application was not set up.
    """
    frontend = get_request_session(request).frontend
    if read_cookie(request, f"{TRACE_COOKIE}=") is None:
        return None
    settings, origin = frontend.manager.settings, frontend.proxies.origin(request)
    if not target.startswith("/"):
        loss = _loss(settings, target, _host(origin), is_secure=frontend.jar.is_secure)
        if loss.cause != "unknown":
            return _told(loss)
    if not _is_below(target, settings.cookie_path):
        fix = (
            f"COOKIE_PATH is {settings.cookie_path}, and browsers do not send the cookie to other paths; set COOKIE_PATH=/ if "
            "applications are not under it"
        )
        return _told(Loss("path", _host(target) or _host(origin), fix))
    if _returns(request) > MOST_RETURNS:
        fix = (
            "the cookie arrives here, and forward auth does not see it; check that the proxy passes the header Cookie on to "
            f"forward auth, and delete other cookies named {frontend.jar.name} in the browser"
        )
        return _told(Loss("circle", _host(target) or _host(origin), fix))
    return None


def _returns(request: web.Request) -> int:
    """How often the user was sent on in the last minute."""
    told = read_cookie(request, f"{TRACE_COOKIE}=") or ""
    return int(told) if _COUNT.fullmatch(told) else 0


def _loss(settings: Settings, address: str, set_by: str, *, is_secure: bool) -> Loss:
    """`address`: where the cookie should arrive. `set_by`: the host that sets it; empty if that is the same."""
    host, domain = _host(address), (settings.cookie_domain or "").removeprefix(".").lower()
    if is_secure and urlsplit(address).scheme == "http":
        fix = (
            f"open {host} with https; if you did, make the proxy send X-Forwarded-Proto, and add its address to TRUSTED_PROXIES; "
            "for http without TLS in a trusted network, set COOKIE_SECURE=false"
        )
        return Loss("http", host, fix)
    if domain and host != domain and not host.endswith(f".{domain}"):
        return Loss(
            "domain",
            host,
            f"COOKIE_DOMAIN is {domain}, and {host} is not in it; set a COOKIE_DOMAIN that contains {host}, or unset it",
        )
    if not domain and set_by and host != set_by:
        return Loss(
            "other-host", host, f"the cookie is for {set_by} only; set COOKIE_DOMAIN to a domain that contains {host} and {set_by}"
        )
    fix = "check that the browser accepts cookies of this site, and that no proxy removes the header Set-Cookie"
    if domain:
        fix += f"; if {domain} is a public suffix, browsers refuse its cookies: then set COOKIE_DOMAIN to your own domain"
    if settings.cookie_path != "/":
        fix += f"; set COOKIE_PATH=/ if the page is not under {settings.cookie_path}"
    return Loss("unknown", host, fix)


def _told(loss: Loss) -> Loss:
    log.warning("cookie_lost", cause=loss.cause, host=loss.host, fix=loss.fix)
    return loss


def _is_sent(request: web.Request, name: str) -> bool:
    return any(
        pair.partition("=")[0].strip() == name for header in request.headers.getall("Cookie", ()) for pair in header.split(";")
    )


def _is_below(address: str, cookie_path: str) -> bool:
    """Whether browsers send a cookie of this path to the address (RFC 6265, section 5.1.4)."""
    try:
        path = urlsplit(address).path or "/"
    except ValueError:
        return True
    return path == cookie_path or path.startswith(f"{cookie_path.removesuffix('/')}/")


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
