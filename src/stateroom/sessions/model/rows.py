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
"""A caller's writes in the same transaction as a row. If it raises, the whole transaction is undone."""


EVERYBODY, REGISTERED, UNKNOWN_USER, CLOCK = "everybody", "registered", "unknown-user", "clock"
"""Reasons of rows that end no single session: all sessions were ended; a user was registered, which ends nothing; the user
database does not know a user; a clock was set back, or rows were pruned (`clock`), which ends nothing. A sealed value from
before the `ended_at` of a `clock` row restores no session and is not trusted alone.
"""

TO_THE_LAST = 2**53
"""The time at which a row expires that is never pruned."""


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
    ends every session of that epoch, of all users; the next epoch is its `successor`. Otherwise it ends nothing.
    `nonce`: a random word. It differs if a restored database gave the same number to another row. None if the release before
    wrote the row.
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
        """Whether it ended this session, with this generation and epoch."""
        if self.epoch is not None:
            return self.epoch == carried.epoch
        if self.user != ref.user:
            return False
        return self.handle == ref.handle if self.handle is not None else (self.generation or 0) > carried.generation
