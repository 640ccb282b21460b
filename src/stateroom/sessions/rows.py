"""What sessions need of a journal of ends: its rows, its calls, and the stand-in where there is none.

Kept apart from the SQL (journal.py), so that who keeps no journal need not import SQLAlchemy: half of what
`import stateroom` took.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Along: TypeAlias = "Callable[[AsyncConnection], Awaitable[None]]"
"""What the caller writes in the same transaction, which it undoes by raising."""

REASONS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class EndRow:
    """One session's end. Times are milliseconds since the epoch; the row is needed until `expires_at`.

    `successor`: the handle of what it became, where it was rotated.
    """

    user: str
    handle: str
    reason: str
    ended_at: int
    expires_at: int
    successor: str | None = None


class Row(NamedTuple):
    """A row as it stands in the journal, in the order of the table's columns."""

    seq: int
    user: str
    handle: str | None
    generation: int | None
    reason: str
    ended_at: int
    expires_at: int
    successor: str | None = None

    def ends(self, user: str, handle: str, generation: int) -> bool:
        """Whether it ended the session of this user, handle and generation."""
        if self.user != user:
            return False
        return self.handle == handle if self.handle is not None else (self.generation or 0) > generation


class EndsJournal(Protocol):
    """What sessions need of a journal. Each call raises `DatabaseUnavailable`."""

    is_kept: bool
    """False where there is none: `DATABASE_URL=none`."""

    async def record(self, rows: Sequence[EndRow]) -> None:
        """Commit these ends."""

    async def raise_generation(
        self, user: str, reason: str, *, seen: int = 0, ended_at: int, expires_at: int, along: Along | None = None
    ) -> int:
        """Commit the end of every session the user has now; the generation that their next ones have.

        `seen`: the highest that one of them has. The journal's own is lower where its database is an older copy of itself.
        """

    async def rotate(
        self, rotation: EndRow, generation: int, *, revokes: str | None, expires_at: int, along: Along | None = None
    ) -> bool:
        """Commit the rotation of a session that is of this generation; with a reason `revokes`, the end of every other too.

        The others' end is a generation one higher than this session's.
        False, and nothing is committed, where the session has an end already, its own or by a raised generation. Calls for
        a user's sessions take turns. What is revoked is needed until `expires_at`.
        """

    async def generation(self, user: str) -> int:
        """The user's generation now; 0 if it was never raised."""

    async def reason(self, user: str, handle: str, generation: int) -> str | None:
        """Why this session was ended, or None where no row says so."""

    async def newest(self, limit: int) -> list[Row]:
        """The last rows, oldest first."""

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        """Rows that ended all of a user's sessions, numbered higher than `after` and still needed then, in order."""

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        """Rows numbered higher than `after`, and those of `gaps` that are there now, in order."""

    async def covering(self, sessions: Sequence[tuple[str, str]]) -> tuple[list[Row], dict[str, int]]:
        """Every row of these sessions (user and handle), and the generation of each of their users that has one."""

    async def fleet_id(self) -> str:
        """The id that this journal's fleet has; made when first asked for."""

    async def prune(self, now: int, limit: int) -> int:
        """Drop rows that are no longer needed, so many at most; how many."""


class NoJournal:
    """With `DATABASE_URL=none`: ends are as durable as Redis is. Only their reasons are remembered, for a while."""

    is_kept = False

    def __init__(self) -> None:
        self._reasons: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def record(self, rows: Sequence[EndRow]) -> None:
        for row in rows:
            self._reasons.setdefault((row.user, row.handle), row.reason)
        while len(self._reasons) > REASONS_REMEMBERED:
            self._reasons.popitem(last=False)

    async def raise_generation(
        self, user: str, reason: str, *, seen: int = 0, ended_at: int, expires_at: int, along: Along | None = None
    ) -> int:
        return 0

    async def rotate(
        self, rotation: EndRow, generation: int, *, revokes: str | None, expires_at: int, along: Along | None = None
    ) -> bool:
        await self.record([rotation])
        return True

    async def generation(self, user: str) -> int:
        return 0

    async def reason(self, user: str, handle: str, generation: int) -> str | None:
        return self._reasons.get((user, handle))

    async def newest(self, limit: int) -> list[Row]:
        return []

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        return []

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        return []

    async def covering(self, sessions: Sequence[tuple[str, str]]) -> tuple[list[Row], dict[str, int]]:
        known = [(user, handle, self._reasons[user, handle]) for user, handle in sessions if (user, handle) in self._reasons]
        return [Row(0, user, handle, None, reason, 0, 0) for user, handle, reason in known], {}

    async def fleet_id(self) -> str:
        return ""

    async def prune(self, now: int, limit: int) -> int:
        return 0
