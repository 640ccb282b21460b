"""Rows of the journal of ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .identity import SessionRef

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from .deployment import Current

InTransaction: TypeAlias = "Callable[[AsyncConnection], Awaitable[None]]"
"""What a caller writes in the same transaction as a row. It undoes the whole by raising."""


EVERYBODY, REGISTERED, UNKNOWN_USER = "everybody", "registered", "unknown-user"
"""Reasons of rows that end no single session: everybody's was ended; a user was registered, which ends nothing; the user
database does not know a user.
"""

TO_THE_LAST = 2**53
"""When a row expires that is never pruned."""


@dataclass(frozen=True, slots=True)
class EndRow:
    """One session's end. `ended_at`: milliseconds since the epoch.

    `successor`: the handle of the session's new id, if it was rotated.
    """

    user: str
    handle: str
    reason: str
    ended_at: int
    successor: str | None = None


class Row(NamedTuple):
    """A row of the journal, in the order of the table's columns. Times are milliseconds since the epoch.

    With a `handle` it ends that session. With a `generation` it ends every older session of the user. With an `epoch` it
    ends every session of that epoch, whoever's; the next epoch is its `successor`. Otherwise it ends nothing.
    `nonce`: a random word, by which a row is known from another one that a restored database gave the same number; None if
    the release before wrote the row.
    """

    seq: int
    user: str
    handle: str | None
    generation: int | None
    reason: str
    ended_at: int
    expires_at: int
    successor: str | None = None
    nonce: str | None = None
    epoch: str | None = None

    def ends(self, ref: SessionRef, carried: Current) -> bool:
        """Whether it ended this session, which carries that."""
        if self.epoch is not None:
            return self.epoch == carried.epoch
        if self.user != ref.user:
            return False
        return self.handle == ref.handle if self.handle is not None else (self.generation or 0) > carried.generation
