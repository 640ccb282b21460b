"""The answers of forward auth. Each has all headers that name the user, empty ones where it names nobody.

nginx passes on only 200, 401 and 403, and makes 500 of any other status, which its configuration turns into 503. The other
proxies pass a refusal to the client as it is: a redirect, a page (`web/refusals.py`), or a problem document. So a refusal has
nothing that is not the client's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ... import SESSIONS
from ...errors import (
    AccessDenied,
    BadInput,
    NotSignedIn,
    ReauthenticationRequired,
    SignInRequired,
    Unauthenticated,
    VerificationRequired,
)
from ...problems import problem_response
from ...ready import proxy_response
from ..safe_redirect import safe_return
from ..visits import VISIT, Visit, confirm_url, page_url, sign_in_url
from .identity import NOBODY
from .navigation import is_form, is_visit

if TYPE_CHECKING:
    from ... import Settings
    from ...accounts.access import Asked
    from ...errors import StateroomError


_COMMON_LINES = "Content-Type: text/plain\r\nCache-Control: no-store\r\n"
OWN_PAGE = (
    "the proxy asks about the page of Stateroom that would help; "
    "the operator can let the proxy pass LOGIN_URL and the paths beside it to Stateroom, as the files in deploy/proxies do"
)


def admitted(identity: str, cookies: str, authorization: str) -> web.Response:
    """Let the request pass. `identity`: the header lines that name the user. The application gets these cookies and this
    authorization.
    """
    repeated = cookies + authorization
    if repeated.isascii() and repeated.isprintable():
        return proxy_response(b"", f"{identity}{_COMMON_LINES}Cookie: {cookies}\r\nAuthorization: {authorization}\r\n")
    answer = proxy_response(b"", f"{identity}{_COMMON_LINES}")
    answer.headers.update({"Cookie": cookies, "Authorization": authorization})
    return answer


def refused(request: web.Request, asked: Asked, error: StateroomError, *, by_nginx: bool) -> web.Response:
    """Refuse the request. A visit goes on to the page that can help: the sign-in, or the one that asks for the password."""
    settings = request.app[SESSIONS].settings
    location = _page_that_helps(settings, asked, error) if is_visit(request, asked) else ""
    if location and _leads_to(location, asked):
        location, error = "", AccessDenied(OWN_PAGE)
    if location and not by_nginx:
        return web.Response(status=302, headers={**NOBODY, "Location": location, "Cache-Control": "no-store"})
    if by_nginx:
        error = _for_nginx(error, location)
    refusal = problem_response(error, request)
    refusal.headers.update(NOBODY)
    if location:
        refusal.headers["Location"] = location
    return refusal


def _for_nginx(error: StateroomError, location: str) -> StateroomError:
    """The error with a status that nginx passes on: 401 if there is a page that can help."""
    if location and not isinstance(error, Unauthenticated):
        return SignInRequired(error.detail)
    return AccessDenied(error.detail) if error.status == BadInput.status else error


def note_visit(request: web.Request, asked: Asked) -> None:
    """Have problems of this request shown as pages if a browser shows them."""
    if is_visit(request, asked):
        request[VISIT] = Visit(_way_back(request.app[SESSIONS].settings, asked))
    elif is_form(request, asked):
        request[VISIT] = Visit(_form_page(request, asked), is_form=True)


def _page_that_helps(settings: Settings, asked: Asked, error: StateroomError) -> str:
    """The address of the page that can help the visitor; empty if none can."""
    back = _way_back(settings, asked)
    match error:
        case NotSignedIn():
            page = sign_in_url(settings, back)
        case ReauthenticationRequired(fresh_seconds=seconds):
            page = confirm_url(settings, back, seconds)
        case VerificationRequired():
            page = page_url(settings, "/verify")
        case _:
            return ""
    # Traefik would complete a mere path with the address at which it asks us, and browsers cannot reach that address.
    return f"{asked.origin}{page}" if page.startswith("/") else page


def _leads_to(location: str, asked: Asked) -> bool:
    """Whether an address is the asked one but for the query. A redirect there would lead to the next one, without end."""
    return location.partition("?")[0] == f"{asked.origin}{asked.path.partition('?')[0]}"


def _way_back(settings: Settings, asked: Asked) -> str:
    """Where a sign-in may return to. If our pages are on the application's own host, it is only a path."""
    whole = asked.path if settings.login_url.startswith("/") else f"{asked.origin}{asked.path}"
    return safe_return(settings, whole) or ""


def _form_page(request: web.Request, asked: Asked) -> str:
    """The page with the form, if the browser tells it and it is of the same application."""
    page = request.headers.get("Referer", "")
    if not page.startswith(f"{asked.origin}/"):
        return ""
    settings = request.app[SESSIONS].settings
    return safe_return(settings, page.removeprefix(asked.origin) if settings.login_url.startswith("/") else page) or ""
