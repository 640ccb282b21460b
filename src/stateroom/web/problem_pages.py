"""A problem on a page's address is a page: whatever raised it, nobody who sent a form is shown JSON.

Who must sign in first is led to where that is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from ..problems import TYPE_PREFIX
from . import words
from .rendering import bare_page, login_url, passed_on, see_other

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

HOME = "/account"
_FOR_PROGRAMS = ("/api/", "/auth/", "/static/")
_SIGN_IN = {"sign-in-required", "session-ended"}


def problem_pages(paths: Collection[str]) -> Callable[[web.Request, web.Response], web.Response]:
    """What makes a page of a problem's document, where a page is due. `paths`: the pages'."""

    def present(request: web.Request, problem: web.Response) -> web.Response:
        return _as_page(request, problem) if request.path in paths or _is_lost(request) else problem

    return present


def _is_lost(request: web.Request) -> bool:
    """Somebody opens an address that leads nowhere."""
    is_unknown = isinstance(request.match_info.http_exception, web.HTTPNotFound)
    return is_unknown and "text/html" in request.headers.get("Accept", "") and not request.path.startswith(_FOR_PROGRAMS)


def _as_page(request: web.Request, problem: web.Response) -> web.Response:
    assert isinstance(problem.body, bytes)
    document = msgspec.json.decode(problem.body)
    slug = document["type"].removeprefix(TYPE_PREFIX)
    if slug in _SIGN_IN:
        page = see_other(login_url(_way_back(request)))
    else:
        wait = problem.headers.get("Retry-After")
        page = bare_page(
            request,
            "problem.html",
            status=problem.status,
            headers=passed_on(problem),
            words=words.of_problem(slug, problem.status),
            wait=words.duration(int(wait)) if wait else "",
            again=request.path_qs if request.method in {"GET", "HEAD"} and wait else "",
            request_id=document["request_id"],
        )
    for cookie in problem.headers.getall("Set-Cookie", ()):
        page.headers.add("Set-Cookie", cookie)
    return page


def _way_back(request: web.Request) -> str:
    """A form cannot be sent again from there; and home is where a sign-in leads anyway."""
    return request.path_qs if request.method == "GET" and request.path_qs != HOME else ""
