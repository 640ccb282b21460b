"""Lets an account whose address is not verified do nothing but verify (`EMAIL_VERIFICATION=required`).

A handler is closed to such an account unless it is marked, so a new handler cannot be forgotten. Handlers that use no session
are not concerned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from .. import get_session
from ..accounts import ACCOUNTS
from ..errors import VerificationRequired

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from ..accounts import User

HandlerT = TypeVar("HandlerT", bound="Callable[..., Any]")

_MARK = "is_open_to_unverified"


def open_to_unverified(handler: HandlerT) -> HandlerT:
    """Mark a handler that an unverified account may call. This decorator stands directly below the route."""
    setattr(handler, _MARK, True)
    return handler


def verification_middleware() -> Middleware:
    """Refuse the requests of signed-in users who must verify first. It needs the session, so it stands inside its middleware."""

    @web.middleware
    async def verified_only(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = request.match_info.handler
        if not getattr(asked, _MARK, False) and _uses_session(asked):
            user_id = get_session(request).user_id
            if isinstance(user_id, int) and await request.app[ACCOUNTS].must_still_verify(user_id):
                raise VerificationRequired
        return await handler(request)

    return verified_only


def check_verified(request: web.Request, user: User) -> None:
    """Raise `VerificationRequired` for a user who may do nothing but verify. For steps that are taken without a session."""
    if request.app[ACCOUNTS].is_restricted(user):
        raise VerificationRequired


def _uses_session(handler: object) -> bool:
    described = getattr(handler, "operation", None)
    return described is None or described.uses_session
