"""Shows problems as pages, so that no browser user sees JSON.

If the user must sign in first, the response is a redirect to the sign-in page. If the user's address must be confirmed first, it
is a redirect to the page that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from ..api.mounts import mounted, split_path
from ..api.safe_redirect import safe_return
from ..api.visits import VISIT
from ..problems import TYPE_PREFIX
from ..setup import SETTINGS
from . import words
from .refusals import refusal_page
from .rendering import bare_page, login_url, passed_on, see_other, to_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

HOME, VERIFY = "/account", "/verify"
_FOR_PROGRAMS = ("/api/", "/auth/", "/static/")
_SIGN_IN = {"sign-in-required", "session-ended"}


def problem_pages(
    paths: Collection[str], paths_for_both: Collection[str]
) -> Callable[[web.Request, web.Response], Awaitable[web.Response]]:
    """Return the function that turns a problem document into a page, if the request is for a page, or asks about a browser's visit.

    `paths`: the paths of pages, without a prefix. `paths_for_both`: of those that are shown only to clients that accept pages.
    """

    async def present(request: web.Request, problem: web.Response) -> web.Response:
        visit = request.get(VISIT)
        if visit is not None:
            return await refusal_page(request, problem, visit)
        path = split_path(request)[1]
        is_page = path in paths or (accepts_page(request) and (path in paths_for_both or _is_lost(request, path)))
        return _as_page(request, problem) if is_page else problem

    return present


def accepts_page(request: web.Request) -> bool:
    """Whether the client is a browser that opens a page."""
    return "text/html" in request.headers.get("Accept", "")


def _is_lost(request: web.Request, path: str) -> bool:
    """Whether the address does not exist."""
    is_unknown = isinstance(request.match_info.http_exception, web.HTTPNotFound)
    return is_unknown and not path.startswith(_FOR_PROGRAMS)


def _as_page(request: web.Request, problem: web.Response) -> web.Response:
    assert isinstance(problem.body, bytes)
    document = msgspec.json.decode(problem.body)
    slug = document["type"].removeprefix(TYPE_PREFIX)
    if slug in _SIGN_IN:
        page = see_other(login_url(request, _way_back(request)))
    elif slug == "verification-required":
        page = to_page(request, VERIFY)
    else:
        wait = problem.headers.get("Retry-After")
        page = bare_page(
            request,
            "problem.html",
            status=problem.status,
            headers=passed_on(problem),
            words=words.of_problem(slug, problem.status),
            wait=words.duration(int(wait)) if wait else "",
            again=_again(request) if wait else "",
            request_id=document["request_id"],
        )
    for cookie in problem.headers.getall("Set-Cookie", ()):
        page.headers.add("Set-Cookie", cookie)
    return page


def _again(request: web.Request) -> str:
    """The address to open once more. Empty for a form, and for a path that browsers read as another host (`//example.com`)."""
    asked = request.path_qs if request.method in {"GET", "HEAD"} else ""
    return safe_return(request.app[SETTINGS], asked) or ""


def _way_back(request: web.Request) -> str:
    """The address to return to after a sign-in. Empty for a form, which cannot be sent again, and for the default address."""
    return request.path_qs if request.method == "GET" and request.path_qs != mounted(request, HOME) else ""
