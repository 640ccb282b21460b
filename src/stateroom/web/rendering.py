"""Renders a page: its template, its security headers, and the facts of the session that every page shows."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp_jinja2
import jinja2
from aiohttp import web

from .. import SESSIONS, Unavailable, cookie_fate, get_session
from ..api.mounts import mounted
from ..problems import problem_response
from . import words
from .policy import policy
from .static_files import static_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import StateroomError

WARNING_SECONDS = 120
"""How long before the session's end a page warns. If half of the idle lifetime is shorter, that is used."""

OWN = "stateroom"
"""The prefix of our own templates: `stateroom/base.html` is ours although an application replaces `base.html` (docs/pages.md)."""

_WITHOUT_PATH = "strict-origin"
"""The Referrer-Policy of pages with a token in their address: requests name our origin, and never the address.

With `no-referrer`, browsers send the page's form with `Origin: null` (https://fetch.spec.whatwg.org/#append-a-request-origin-header),
which is also what they send from a foreign page that hides where it is. So that form would be refused.
"""

_PASSED_ON = ("Retry-After", "WWW-Authenticate", "Allow", "Accept")

_PREFIX: ContextVar[str] = ContextVar("stateroom_prefix", default="")
"""The prefix by which the page that is being rendered was opened. Macros need it too, and they do not see the page's values."""


def setup_templates(app: web.Application) -> None:
    """Give the application the pages' templates."""
    own = jinja2.PackageLoader("stateroom.web")
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.ChoiceLoader([own, jinja2.PrefixLoader({OWN: own})]),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["mounted"] = _under_prefix
    environment.globals["static_url"] = _file_under_prefix
    for each in (words.ago, words.moment, words.duration, words.device_name):
        environment.filters[each.__name__] = each


def page(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> web.Response:
    """Render a page for the session. No cache may keep it."""
    state = {"has_script": True, "is_degraded": _is_degraded(request), "watch": _watch(request), **context}
    response = _rendered(request, template, state, status, headers or {})
    if is_signed_in(request):
        cookie_fate.remove_trace(request, response)
    return response


def refused(request: web.Request, template: str, error: StateroomError, **context: Any) -> web.Response:
    """Render a page that shows an error, with the status and headers of the API's response to this error."""
    problem = problem_response(error, request)
    return page(request, template, status=problem.status, headers=passed_on(problem), **context)


def bare_page(request: web.Request, template: str, *, status: int, headers: Mapping[str, str], **context: Any) -> web.Response:
    """Render a page without reading the session."""
    state = {"has_script": True, "is_degraded": False, "watch": None, **context}
    return _rendered(request, template, state, status, headers)


def passed_on(problem: web.StreamResponse) -> dict[str, str]:
    """The headers of a problem document that its page has too."""
    return {name: problem.headers[name] for name in _PASSED_ON if name in problem.headers}


def see_other(location: str) -> web.Response:
    """The response to a form: the browser opens another page with GET."""
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})


def to_page(request: web.Request, path: str) -> web.Response:
    """Redirect to a page of ours, under the prefix of this request."""
    return see_other(mounted(request, path))


def login_url(request: web.Request, back: str = "", *, signed_out: str = "") -> str:
    """The address of the sign-in page, under the prefix of this request.

    `back`: the page to open afterwards. `signed_out`: why the session has ended.
    """
    query = "&".join(f"{name}={quote(value)}" for name, value in (("signed-out", signed_out), ("rd", back)) if value)
    return mounted(request, f"/login?{query}" if query else "/login")


def is_signed_in(request: web.Request) -> bool | None:
    """Whether a user is signed in; None if that cannot be known now."""
    try:
        return get_session(request).is_signed_in
    except Unavailable:
        return None


def _rendered(request: web.Request, template: str, state: dict[str, Any], status: int, headers: Mapping[str, str]) -> web.Response:
    before = _PREFIX.set(mounted(request, ""))
    try:
        response = aiohttp_jinja2.render_template(template, request, state, status=status)
    finally:
        _PREFIX.reset(before)
    response.headers.update(headers)
    response.headers["Content-Security-Policy"] = policy(request.app[SESSIONS].settings)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if "token" in request.query:
        response.headers["Referrer-Policy"] = _WITHOUT_PATH
    return response


def _under_prefix(path: str) -> str:
    """The address of a page of ours, for templates."""
    return f"{_PREFIX.get()}{path}"


def _file_under_prefix(name: str) -> str:
    """The address of a file of ours, for templates."""
    return _under_prefix(static_url(name))


def _is_degraded(request: web.Request) -> bool:
    return get_session(request).degraded or request.app[SESSIONS].store_state() == "away"


def _watch(request: web.Request) -> dict[str, int] | None:
    """The values that the page's script needs to warn before the session's end. Times are in seconds."""
    session = get_session(request)
    if not is_signed_in(request) or not isinstance(session.user_id, int):
        return None
    before = min(WARNING_SECONDS, session.idle_seconds // 2)
    return {"user_id": session.user_id, "expires_in": session.expires_in, "warn_before": before}
