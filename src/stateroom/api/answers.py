"""Builds the API's responses: JSON bodies, times in RFC 3339 and UTC, the public facts of a session."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from .. import SESSIONS, bearer_value, is_bearer
from ..ready import JSON_LINES, ready_response

if TYPE_CHECKING:
    from aiohttp import web

    from .. import Session, SessionInfo
    from ..accounts import User

_encode = msgspec.json.Encoder().encode


def answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    """A JSON response. It is personal, so no cache may store it."""
    return ready_response(_encode(body), JSON_LINES, status=status)


def for_bearers(request: web.Request) -> dict[str, str]:
    """The session's new bearer value, for clients that use no cookies. Empty for others."""
    return {"session_token": bearer_value(request)} if is_bearer(request) else {}


def rfc3339(moment: datetime | None) -> str | None:
    """A time as `2026-01-31T12:00:00Z`, without fractions of a second."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def user_view(user: User) -> dict[str, Any]:
    """The public facts of a user."""
    return {"id": user.id, "email": user.email, "name": user.name}


def verification_view(request: web.Request, user: User) -> dict[str, str]:
    """Says that the user's address is not verified yet. Empty if it is, or if this service verifies none."""
    mode = request.app[SESSIONS].settings.email_verification
    return {} if user.is_verified or mode == "off" else {"verification": mode}


def session_view(session: Session) -> dict[str, Any]:
    """The public facts of the request's session."""
    return {
        "id": session.id,
        "created_at": rfc3339(session.created_at),
        "expires_at": rfc3339(session.expires_at),
        "last_access": rfc3339(session.last_access),
        "degraded": session.degraded,
    }


def device_view(info: SessionInfo, current: str | None) -> dict[str, Any]:
    """One of the user's sessions. `current`: the handle of the request's own session."""
    return {
        "id": info.id,
        "current": info.id == current,
        "created_at": rfc3339(info.created_at),
        "last_access": rfc3339(info.last_access),
        "expires_at": rfc3339(info.expires_at),
        "ip_address": info.ip_address,
        "user_agent": info.user_agent,
        "device_type": info.device_type,
        "location": info.location,
    }
