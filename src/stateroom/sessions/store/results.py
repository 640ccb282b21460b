"""Results of the session store's steps. Times are milliseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.fields import Fields
    from ..model.identity import UserId


@dataclass(frozen=True, slots=True)
class Created:
    created_at: int
    expires_at: int
    over_limit: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    renewed_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Saved:
    size: int
    renewed: Renewed | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that was deleted. Times are milliseconds since the epoch.

    `fields`: its last fields; empty unless the caller of the deletion asked for them.
    """

    user_id: UserId | None
    handle: str
    created_at: int
    ended_at: int
    fields: Fields = field(default_factory=dict)

    @property
    def lifetime_seconds(self) -> float:
        return max(0, self.ended_at - self.created_at) / 1000


@dataclass(frozen=True, slots=True)
class Conflict:
    """The field has another value now (None: no value)."""

    current: bytes | None
