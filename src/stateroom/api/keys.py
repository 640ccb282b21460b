"""The public keys of access tokens and assertions, for services and applications that verify those (RFC 7517)."""

from __future__ import annotations

from aiohttp import web

from .. import SESSIONS
from ..errors import NotFound
from . import views
from .answers import answer
from .operations import operation

routes = web.RouteTableDef()

CACHE_SECONDS = 300
"""How long verifiers may keep the keys. A new key is published for at least this time before it signs (docs/operations.md)."""


@routes.get("/.well-known/jwks.json")
@operation("Show the public keys of access tokens and assertions", {200: views.KeySet}, 404, uses_session=False)
async def public_keys(request: web.Request) -> web.Response:
    manager = request.app[SESSIONS]
    if not manager.has_access_tokens:
        raise NotFound("access tokens are disabled; set JWT_KEYS to enable them")
    response = answer(manager.public_token_keys())
    response.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}"
    return response
