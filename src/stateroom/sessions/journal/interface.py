"""What sessions need of the journal of ends, and what stands in its place if there is none.

Kept apart from `sql.py`: an application without a database need not import SQLAlchemy, which is half of what
`import stateroom` takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Protocol

from ..model.identity import SessionRef
from ..model.rows import EndRow, InTransaction, Row

ROWS_REMEMBERED = 10_000


class EndsJournal(Protocol):
    """The journal. Each call raises `DatabaseUnavailable`."""

    has_journal: bool
    """False for the stand-in (`DATABASE_URL=none`)."""

    async def record(self, rows: Sequence[EndRow]) -> None:
        """Commit these ends."""

    async def raise_generation(
        self,
        user: str,
        reason: str,
        *,
        seen: int = 0,
        ended_at: int,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> int:
        """Commit the end of every session that the user has now. Returns the generation of their next sessions.

        `seen`: the highest generation that one of them has. The journal's own is lower if its database is an older copy.
        """

    async def rotate(
        self,
        rotation: EndRow,
        generation: int,
        *,
        revokes: str | None,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        """Commit the rotation of a session of this generation; with a reason `revokes`, also the end of every other one.

        The others' end is a generation one higher than this session's; its row is needed until `expires_at`.
        False, and nothing is committed, if the session has ended already, by a row of its own or by a raised generation.
        Calls for one user's sessions take turns.
        """

    async def generation(self, user: str) -> int:
        """The user's generation now; 0 if it was never raised."""

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        """Why this session ended, or None if no row says so."""

    async def newest(self, limit: int) -> list[Row]:
        """The last rows, oldest first."""

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        """Rows that ended all of a user's sessions, numbered higher than `after` and still needed then, in order."""

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        """Rows numbered higher than `after`, and those of `gaps` that are there now, in order."""

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        """Every row of these sessions, and the generation of each of their users that has one."""

    async def of_user(self, user: str) -> list[Row]:
        """Every row of a user, in order."""

    async def fleet_id(self) -> str:
        """The id of the fleet that this journal belongs to; made when first asked for."""

    async def agree_on_lease(self, lease_ms: int) -> int:
        """The deployment's lease: what the journal has, else this value, which the journal then keeps."""

    async def prune(self, now: int, limit: int) -> int:
        """Drop rows that are needed no longer, at most so many. Returns how many."""


class NoJournal:
    """With `DATABASE_URL=none` ends are as durable as Redis is. This process remembers its own for a while.

    `_rows`: the first end of each session; at most `ROWS_REMEMBERED`, the oldest is dropped first.
    """

    has_journal = False

    def __init__(self) -> None:
        self._rows: OrderedDict[SessionRef, EndRow] = OrderedDict()

    async def record(self, rows: Sequence[EndRow]) -> None:
        for row in rows:
            self._rows.setdefault(SessionRef(row.user, row.handle), row)
        while len(self._rows) > ROWS_REMEMBERED:
            self._rows.popitem(last=False)

    async def raise_generation(
        self,
        user: str,
        reason: str,
        *,
        seen: int = 0,
        ended_at: int,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> int:
        return 0

    async def rotate(
        self,
        rotation: EndRow,
        generation: int,
        *,
        revokes: str | None,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        if SessionRef(rotation.user, rotation.handle) in self._rows:
            return False
        await self.record([rotation])
        return True

    async def generation(self, user: str) -> int:
        return 0

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        row = self._rows.get(ref)
        return None if row is None else row.reason

    async def newest(self, limit: int) -> list[Row]:
        return []

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        return []

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        return []

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        known = [self._rows[ref] for ref in refs if ref in self._rows]
        return [Row(0, row.user, row.handle, None, row.reason, row.ended_at, row.expires_at, row.successor) for row in known], {}

    async def of_user(self, user: str) -> list[Row]:
        return []

    async def fleet_id(self) -> str:
        return ""

    async def agree_on_lease(self, lease_ms: int) -> int:
        return lease_ms

    async def prune(self, now: int, limit: int) -> int:
        return 0
