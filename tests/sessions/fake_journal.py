"""The journal of ends without a database. `journal/test_sql.py` holds it to what the SQL journal does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow, InTransaction, Row

ASK_SECONDS = 0.002


class Table:
    """What the database holds. A row gets its number first, and is seen when it is committed.

    `turns`: calls that change one user's generation take turns. `commit_seconds`: how long a commit takes.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.generations: dict[str, int] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.last_seq = 0
        self.commit_seconds = 0.002
        self.lease_ms: int | None = None

    def number(
        self, user: str, handle: str | None, generation: int | None, reason: str, until: int, successor: str | None = None
    ) -> Row:
        """A row that nobody sees yet."""
        self.last_seq += 1
        return Row(self.last_seq, user, handle, generation, reason, 0, until, successor)

    def show(self, row: Row) -> None:
        """Commit a row."""
        self.rows[row.seq] = row
        self.last_seq = max(self.last_seq, row.seq)
        if row.generation is not None:
            self.generations[row.user] = row.generation


class FakeJournal:
    """The table, as one worker reaches it: `is_cut` while it does not."""

    has_journal = True

    def __init__(self, table: Table) -> None:
        self.table = table
        self.is_cut = False

    async def _ask(self) -> None:
        await asyncio.sleep(ASK_SECONDS)
        if self.is_cut:
            raise DatabaseUnavailable("cut")

    def _in_order(self) -> list[Row]:
        return [row for _, row in sorted(self.table.rows.items())]

    def _of_end(self, row: EndRow) -> Row:
        return self.table.number(row.user, row.handle, None, row.reason, row.expires_at, row.successor)

    async def _commit(self, rows: Sequence[Row]) -> None:
        await asyncio.sleep(self.table.commit_seconds)
        if self.is_cut:
            raise DatabaseUnavailable("cut before the commit")
        for row in rows:
            self.table.show(row)

    async def record(self, rows: Sequence[EndRow]) -> None:
        await self._ask()
        for row in rows:
            await self._commit([self._of_end(row)])

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
        assert in_transaction is None, "there is no connection to write with"
        await self._ask()
        async with self.table.turns[user]:
            generation = max(self.table.generations.get(user, 0), seen) + 1
            await self._commit([self.table.number(user, None, generation, reason, expires_at)])
        return generation

    async def rotate(
        self,
        rotation: EndRow,
        generation: int,
        *,
        revokes: str | None,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        assert in_transaction is None, "there is no connection to write with"
        await self._ask()
        user = rotation.user
        async with self.table.turns[user]:
            is_ended = any((row.user, row.handle) == (user, rotation.handle) for row in self.table.rows.values())
            now = self.table.generations.get(user, 0)
            if is_ended or now > generation:
                return False
            raised = [] if revokes is None else [self.table.number(user, None, generation + 1, revokes, expires_at)]
            await self._commit([*raised, self._of_end(rotation)])
        return True

    async def generation(self, user: str) -> int:
        await self._ask()
        return self.table.generations.get(user, 0)

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        await self._ask()
        return next((row.reason for row in self._in_order() if row.ends(ref, generation)), None)

    async def newest(self, limit: int) -> list[Row]:
        await self._ask()
        return self._in_order()[-limit:]

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        await self._ask()
        rows = [row for row in self._in_order() if row.seq > after and row.handle is None and row.expires_at > needed_at]
        return rows[:limit]

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        await self._ask()
        wanted = set(gaps)  # as the statement was sent: gaps is the tail's own
        return [row for row in self._in_order() if row.seq > after or row.seq in wanted][:limit]

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        await self._ask()
        keys: set[tuple[str, str | None]] = set(refs)
        rows = [row for row in self._in_order() if (row.user, row.handle) in keys]
        users = {ref.user for ref in refs}
        return rows, {user: number for user, number in self.table.generations.items() if user in users}

    async def of_user(self, user: str) -> list[Row]:
        await self._ask()
        return [row for row in self._in_order() if row.user == user]

    async def fleet_id(self) -> str:
        await self._ask()
        return "fleet"

    async def agree_on_lease(self, lease_ms: int) -> int:
        await self._ask()
        self.table.lease_ms = self.table.lease_ms or lease_ms
        return self.table.lease_ms

    async def prune(self, now: int, limit: int) -> int:
        return 0
