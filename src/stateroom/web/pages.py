"""The pages' composition: their routes, and what an application needs to serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from . import account, signing_in, static_files
from .problem_pages import problem_pages_middleware
from .rendering import setup_templates

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware


def page_routes() -> list[web.AbstractRouteDef]:
    """Every page, the steps that its forms take, and its files. OpenAPI describes programs' calls and has none of these."""
    return [route for each in (signing_in, account, static_files) for route in each.routes]


def setup_pages(app: web.Application) -> Middleware:
    """Add the pages to an application that has accounts. The middleware goes around the one that makes problems."""
    setup_templates(app)
    for route in page_routes():
        route.register(app.router)
    pages = {route.path for each in (signing_in, account) for route in each.routes if isinstance(route, web.RouteDef)}
    return problem_pages_middleware(pages)
