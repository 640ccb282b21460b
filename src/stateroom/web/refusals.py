"""Pages in place of the problems of forward auth. The proxies send them to the browser, at the application's own address.

Therefore their links and files are beside the sign-in page (`LOGIN_URL`). They have no script, which a browser would not load from
another host, and they have a form only if we are reached at the application's own host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp_jinja2
import msgspec
from aiohttp import hdrs, web

from .. import SESSIONS, get_session
from ..accounts import ACCOUNTS
from ..api.visits import confirm_url, page_url, pages_prefix, sign_in_url
from ..errors import AccessDenied, StateroomError
from ..problems import TYPE_PREFIX
from . import refusal_words, words
from .notices import Link
from .policy import policy
from .rendering import is_signed_in
from .static_files import static_url

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from ..accounts import User
    from ..api.visits import Visit

_OF_THE_BODY = {hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH}


async def refusal_page(request: web.Request, problem: web.Response, visit: Visit) -> web.Response:
    """The page for a problem. It has the problem's status and headers, and repeats nothing of the request."""
    assert isinstance(problem.body, bytes)
    settings = request.app[SESSIONS].settings
    document = msgspec.json.decode(problem.body)
    slug = document["type"].removeprefix(TYPE_PREFIX)
    prefix = pages_prefix(settings)
    parts = urlsplit(prefix)
    wait = problem.headers.get(hdrs.RETRY_AFTER)
    is_denied, may_be_signed_in = slug == AccessDenied.slug, is_signed_in(request) is not False
    context = {
        "words": refusal_words.of_refusal(slug, problem.status, is_form=visit.is_form, is_signed_in=may_be_signed_in),
        "user": await signed_in_user(request) if is_denied else None,
        "wait": words.duration(int(wait)) if wait else "",
        "link": _link(request, slug, visit),
        "back": "" if visit.is_form else visit.back,
        "use_another": page_url(settings, "/logout", rd=visit.back) if is_denied and may_be_signed_in else "",
        "can_post": not parts.netloc,
        "account": page_url(settings, "/account"),
        "fix": document["detail"] if is_denied and not document["detail"].startswith(AccessDenied.title) else "",
        "request_id": document["request_id"] if problem.status >= 500 else "",
        "has_script": False,
        "is_degraded": False,
        "watch": None,
        "mounted": lambda path: f"{prefix}{path}",
        "static_url": lambda name: f"{prefix}{static_url(name)}",
    }
    page = aiohttp_jinja2.render_template("refusal.html", request, context, status=problem.status)
    for name, value in problem.headers.items():
        if name not in _OF_THE_BODY:
            page.headers.add(name, value)
    page.headers[hdrs.CACHE_CONTROL] = "no-store"
    page.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    page.headers["Content-Security-Policy"] = _policy_of_host(parts) if parts.netloc else policy(settings)
    return page


async def signed_in_user(request: web.Request) -> User | None:
    """The signed-in user; None if nobody is signed in, or if the user cannot be read now."""
    try:
        user_id = get_session(request).user_id
        return await request.app[ACCOUNTS].identity(user_id) if isinstance(user_id, int) else None
    except StateroomError:
        return None


def _link(request: web.Request, slug: str, visit: Visit) -> Link | None:
    """Where the user can go on."""
    settings = request.app[SESSIONS].settings
    match slug:
        case "sign-in-required" | "session-ended":
            return Link("Sign in", sign_in_url(settings, visit.back))
        case "reauthentication-required":
            return Link("Enter your password", confirm_url(settings, visit.back))
        case "verification-required":
            return Link("Go on", page_url(settings, "/verify"))
    return None if visit.is_form or not visit.back else Link("Try again", visit.back)


def _policy_of_host(ours: SplitResult) -> str:
    """The Content-Security-Policy of a page without forms, whose files are on another host."""
    source = f"{ours.scheme}://{ours.netloc}"
    return f"default-src 'none'; style-src {source}; img-src {source}; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
