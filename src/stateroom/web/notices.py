"""A page that only says something, with a link to where the user can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .rendering import page, refused

if TYPE_CHECKING:
    from aiohttp import web

    from ..errors import StateroomError
    from .words import Words


class Link(NamedTuple):
    """A link on a page: its text, and the path of the page of ours to which it leads."""

    text: str
    to: str


def notice(request: web.Request, words: Words, link: Link | None, *, error: StateroomError | None = None) -> web.Response:
    """Render a page with these words. `error`: the page has the status and headers of the API's response to it."""
    if error is None:
        return page(request, "notice.html", words=words, link=link)
    return refused(request, "notice.html", error, words=words, link=link)
