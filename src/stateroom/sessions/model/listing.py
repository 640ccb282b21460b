"""A user's sessions, as a list shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from .client_notes import unpack
from .fields import CREATED, RENEWED, Fields
from .timestamps import expires_ms


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of a user's sessions. `id` is its handle, to list and revoke it. It cannot authenticate.

    `last_access` is the last renewal. A note that is missing is an empty string.
    """

    id: str
    created_at: datetime
    last_access: datetime
    expires_at: datetime
    ip_address: str
    user_agent: str
    device_type: str
    location: str

    @classmethod
    def of(cls, handle: str, fields: Fields) -> SessionInfo:
        """Read the stored fields. Raises `KeyError`, `ValueError` if they are not a session's."""
        noted = unpack(fields)
        return cls(
            id=handle,
            created_at=_moment(int(fields[CREATED])),
            last_access=_moment(int(fields[RENEWED])),
            expires_at=_moment(expires_ms(fields)),
            ip_address=str(noted.get("ip_address", "")),
            user_agent=str(noted.get("user_agent", "")),
            device_type=str(noted.get("device_type", "")),
            location=str(noted.get("location", "")),
        )


Before: TypeAlias = SessionInfo | tuple[str, datetime]
"""A list goes on after this session, or after the session with this `id` and `created_at`."""


def place_of(before: Before) -> tuple[str, int]:
    """The handle, and the stored time of `created_at` in milliseconds."""
    handle, created_at = before if isinstance(before, tuple) else (before.id, before.created_at)
    return handle, round(created_at.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
