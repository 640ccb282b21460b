"""Rows of the journal of ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .identity import SessionRef

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

InTransaction: TypeAlias = "Callable[[AsyncConnection], Awaitable[None]]"
"""What a caller writes in the same transaction as a row. It undoes the whole by raising."""


@dataclass(frozen=True, slots=True)
class EndRow:
    """One session's end. Times are milliseconds since the epoch; the row is needed until `expires_at`.

    `successor`: the handle of the session's new id, if it was rotated.
    """

    user: str
    handle: str
    reason: str
    ended_at: int
    expires_at: int
    successor: str | None = None


class Row(NamedTuple):
    """A row of the journal, in the order of the table's columns.

    Either `handle` is set, and the row ends that session, or `generation` is, and it ends every older session of the user.
    """

    seq: int
    user: str
    handle: str | None
    generation: int | None
    reason: str
    ended_at: int
    expires_at: int
    successor: str | None = None

    def ends(self, ref: SessionRef, generation: int) -> bool:
        """Whether it ended this session, which has this generation."""
        if self.user != ref.user:
            return False
        return self.handle == ref.handle if self.handle is not None else (self.generation or 0) > generation
