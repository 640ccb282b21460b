"""Whether a browser opens a page or sends a form. Scripts, images and programs cannot use a redirect or a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

if TYPE_CHECKING:
    from aiohttp import web

    from ...accounts.access import Asked

_READING = frozenset({"GET", "HEAD"})
_DOCUMENTS = frozenset({"document", "iframe", "frame"})


def is_visit(request: web.Request, asked: Asked) -> bool:
    """Whether a browser opens a page."""
    if asked.method not in _READING or hdrs.ACCEPT not in request.headers:  # most requests of programs end here
        return False
    return _is_navigation(request)


def is_form(request: web.Request, asked: Asked) -> bool:
    """Whether a browser sends a form, and shows the answer as a page."""
    return asked.method == "POST" and _is_navigation(request)


def _is_navigation(request: web.Request) -> bool:
    """Browsers of before 2023 do not send `Sec-Fetch-…`: https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Mode"""
    headers = request.headers
    return (
        "text/html" in headers.get(hdrs.ACCEPT, "").lower()
        and headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        and headers.get("Sec-Fetch-Dest", "document") in _DOCUMENTS
        and headers.get("X-Requested-With", "").lower() != "xmlhttprequest"
    )
