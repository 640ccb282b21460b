"""The journal of ends without a database. `journal/test_sql.py` holds it to what the SQL journal does."""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections import defaultdict
from collections.abc import Collection, Sequence

from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal.interface import EpochChange, LookedUp, Reading, Successors
from stateroom.sessions.model.deployment import Current, Deployment, DeploymentRow
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import REGISTERED, TO_THE_LAST, EndRow, InTransaction, Row

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
        self.deployment = DeploymentRow("fleet", None, None, "", None)

    def number(
        self,
        user: str,
        handle: str | None,
        generation: int | None,
        reason: str,
        successor: str | None = None,
        epoch: str | None = None,
        expires_at: int = TO_THE_LAST,
    ) -> Row:
        """A row that nobody sees yet."""
        self.last_seq += 1
        nonce = secrets.token_hex(8)
        return Row(self.last_seq, user, handle, generation, reason, 0, expires_at, successor, nonce, epoch)

    def copy(self) -> Table:
        """A backup."""
        made = copy.copy(self)
        made.rows, made.generations = dict(self.rows), dict(self.generations)
        return made

    def renumbered(self, row: Row) -> Row:
        """A row again, under the next number."""
        self.last_seq += 1
        return row._replace(seq=self.last_seq, nonce=row.nonce or secrets.token_hex(8))

    def show(self, row: Row) -> None:
        """Commit a row."""
        self.rows[row.seq] = row
        self.last_seq = max(self.last_seq, row.seq)
        if row.generation is not None:
            self.generations[row.user] = max(row.generation, self.generations.get(row.user, 0))
        if row.epoch is not None and row.epoch == self.deployment.epoch:
            self.deployment = self.deployment._replace(epoch=row.successor or "")


class FakeJournal:
    """The table, as one worker reaches it: `is_cut` while it does not."""

    has_journal = True

    def __init__(self, table: Table) -> None:
        self.table = table
        self.is_cut = False
        self.deployment: Deployment | None = None

    def belong_to(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def _check_whose(self) -> None:
        own = None if self.deployment is None else self.deployment.id
        if own not in {None, self.table.deployment.id}:
            raise DatabaseUnavailable("another deployment's")

    async def _ask(self) -> None:
        await asyncio.sleep(ASK_SECONDS)
        if self.is_cut:
            raise DatabaseUnavailable("cut")

    def _in_order(self) -> list[Row]:
        return [row for _, row in sorted(self.table.rows.items())]

    def _of_end(self, row: EndRow) -> Row:
        return self.table.number(row.user, row.handle, None, row.reason, row.successor)

    async def _commit(self, rows: Sequence[Row]) -> None:
        table = self.table
        self._check_whose()
        await asyncio.sleep(table.commit_seconds)
        if self.is_cut:
            raise DatabaseUnavailable("cut before the commit")
        if table is not self.table:
            raise DatabaseUnavailable("the database's file was replaced")  # as `Database` finds by the file's inode
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
        in_transaction: InTransaction | None = None,
    ) -> int:
        assert in_transaction is None, "there is no connection to write with"
        await self._ask()
        async with self.table.turns[user]:
            generation = max(self.table.generations.get(user, 0), seen) + 1
            await self._commit([self.table.number(user, None, generation, reason)])
        return generation

    async def rotate(
        self,
        rotation: EndRow,
        current: Current,
        *,
        revokes: str | None,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        assert in_transaction is None, "there is no connection to write with"
        await self._ask()
        user = rotation.user
        async with self.table.turns[user]:
            is_ended = any((row.user, row.handle) == (user, rotation.handle) for row in self.table.rows.values())
            now = self.table.generations.get(user, 0)
            if is_ended or now > current.generation or self.table.deployment.epoch != current.epoch:
                return False
            raised = [] if revokes is None else [self.table.number(user, None, current.generation + 1, revokes)]
            await self._commit([*raised, self._of_end(rotation)])
        return True

    async def current(self, user: str) -> Current:
        await self._ask()
        self._check_whose()
        return Current(self.table.generations.get(user, 0), self.table.deployment.epoch)

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        await self._ask()
        async with self.table.turns[""]:
            before, after = self.table.deployment.epoch, secrets.token_hex(8)
            await self._commit([self.table.number("", None, None, reason, after, before)])
        return EpochChange(before, after)

    async def recommit(self, rows: Sequence[Row]) -> int:
        await self._ask()
        async with self.table.turns[""]:
            lacking: list[Row] = []
            for row in rows:
                if row.reason != REGISTERED and not any(_does_same(row, each) for each in [*self._in_order(), *lacking]):
                    lacking.append(row)
            await self._commit([self.table.renumbered(row) for row in lacking])
            word = self.table.deployment.restored or secrets.token_hex(8)
            self.table.deployment = self.table.deployment._replace(restored=word)
        return len(lacking)

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        await self._ask()
        return next((row.reason for row in self._in_order() if row.epoch is None and row.ends(ref, Current(generation, ""))), None)

    async def newest(self, limit: int) -> list[Row]:
        await self._ask()
        return self._in_order()[-limit:]

    async def raised(self, after: int, limit: int) -> list[Row]:
        await self._ask()
        rows = [row for row in self._in_order() if row.seq > after and row.handle is None and row.reason != REGISTERED]
        return rows[:limit]

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        wanted, asked = set(gaps), set(checked)  # as the statement is sent: they are the tail's own
        await self._ask()
        rows = [row for row in self._in_order() if row.seq > after or row.seq in wanted][:limit]
        return Reading(rows, self._nonces(asked), self.table.deployment)

    def _nonces(self, checked: Collection[int]) -> dict[int, str | None]:
        return {row.seq: row.nonce for row in self._in_order() if row.seq in checked}

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        await self._ask()
        keys: set[tuple[str, str | None]] = set(refs)
        rows = [row for row in self._in_order() if (row.user, row.handle) in keys]
        users = {ref.user for ref in refs}
        generations = {user: number for user, number in self.table.generations.items() if user in users}
        return LookedUp(rows, generations, self.table.deployment, self._nonces(checked))

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        await self._ask()
        rows = [row for row in self._in_order() if row.user == ref.user]
        following = {row.handle: row.successor for row in rows if row.successor is not None}
        handle, found = following.get(ref.handle), list[str]()
        while handle is not None and len(found) <= limit:
            found.append(handle)
            handle = following.get(handle)
        ended = {row.handle for row in rows}
        return Successors([SessionRef(ref.user, each) for each in found if each not in ended], is_complete=len(found) <= limit)

    async def of_user(self, user: str) -> list[Row]:
        await self._ask()
        return [row for row in self._in_order() if row.user == user]

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        await self._ask()
        known = self.table.deployment
        lease = lease_ms if known.lease_ms is None else known.lease_ms
        self.table.deployment = known._replace(lease_ms=lease, name=name if known.name is None else known.name)
        return self.table.deployment

    async def clear_restored(self, *, seen: str) -> None:
        await self._ask()
        if self.table.deployment.restored == seen:
            self.table.deployment = self.table.deployment._replace(restored=None)

    async def prune(self, due_at: int, limit: int) -> int:
        return 0

    async def now_ms(self) -> int:
        return 0


def _does_same(row: Row, other: Row) -> bool:
    if row.epoch is not None:
        return other.epoch == row.epoch
    if row.handle is not None:
        return (other.user, other.handle) == (row.user, row.handle)
    return other.user == row.user and other.handle is None and (other.generation or 0) >= (row.generation or 0)
