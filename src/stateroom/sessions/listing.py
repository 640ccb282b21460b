"""A user's sessions, as a list shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .notes import unpack

if TYPE_CHECKING:
    from .store import Fields


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of a user's sessions, as a list shows it."""

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
        """What the stored fields say."""
        noted = unpack(fields)
        renewed, idle, deadline = int(fields[b"r"]), int(fields[b"i"]), int(fields[b"d"])
        return cls(
            id=handle,
            created_at=_moment(int(fields[b"c"])),
            last_access=_moment(renewed),
            expires_at=_moment(min(renewed + idle, deadline)),
            ip_address=str(noted.get("ip_address", "")),
            user_agent=str(noted.get("user_agent", "")),
            device_type=str(noted.get("device_type", "")),
            location=str(noted.get("location", "")),
        )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
