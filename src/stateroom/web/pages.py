"""The pages of an application: their routes, their templates, and pages for problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from . import account, address, confirming, denied, leaving, not_sent, recovery, registering, signing_in, static_files
from .problem_pages import problem_pages
from .rendering import setup_templates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import ModuleType

_FOR_USERS = (signing_in, registering, recovery, account, address, leaving, confirming)
_FOR_BOTH = (denied, not_sent)
"""A program that asks for these pages gets the problem."""


def page_routes() -> list[web.AbstractRouteDef]:
    """All routes for browsers: pages, forms and static files. The OpenAPI document leaves them out."""
    return [route for each in (*_FOR_USERS, *_FOR_BOTH, static_files) for route in each.routes]


def setup_pages(app: web.Application) -> Callable[[web.Request, web.Response], Awaitable[web.Response]]:
    """Prepare an application for the pages. Returns the function that turns problems into pages."""
    setup_templates(app)
    return problem_pages(_paths(_FOR_USERS), _paths(_FOR_BOTH))


def _paths(parts: Sequence[ModuleType]) -> set[str]:
    return {route.path for each in parts for route in each.routes if isinstance(route, web.RouteDef)}
