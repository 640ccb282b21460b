"""The journal of ends without a database. `journal/test_sql.py` holds it to what the SQL journal does."""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal.interface import EpochChange, LookedUp, Reading, Successors
from stateroom.sessions.journal.pruning import NOTES_PER_LIFETIME
from stateroom.sessions.model.deployment import Current, Deployment, DeploymentRow, SentinelRow
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import CLOCK, REGISTERED, TO_THE_LAST, EndRow, InTransaction, Row

from .virtual import Host, on_host

ASK_SECONDS = 0.002
LONGEST_MS = 100_000_000


class Table(Host):
    """What the database holds. A row gets its number first, and is seen when it is committed.

    `turns`: calls that change one user's generation take turns. `commit_seconds`: how long a commit takes.
    `longest_ms`: the longest lifetime of a session.
    """

    def __init__(self, longest_ms: int = LONGEST_MS) -> None:
        super().__init__()
        self.longest_ms = longest_ms
        self.rows: dict[int, Row] = {}
        self.generations: dict[str, int] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.last_seq = 0
        self.commit_seconds = 0.002
        self.deployment = DeploymentRow("fleet", None, None, "", None)

    def now_ms(self) -> int:
        """The database's time."""
        with on_host(self):
            return int(time.time() * 1000)

    def kept_from(self, ended_at: int) -> int:
        """From when on the row of this end is kept for the longest lifetime."""
        return max(self.now_ms(), ended_at)

    def needed_until(self, kept_from: int) -> int:
        """When a row is due that is kept from then on."""
        return max([kept_from + self.longest_ms, self.sealed_until()])

    def sealed_until(self) -> int:
        """When the last value is too old that was sealed before a clock was set back."""
        return max((row.expires_at for row in self.rows.values() if row.reason == CLOCK), default=0)

    def not_before(self) -> int:
        return max((row.ended_at for row in self.rows.values() if row.reason == CLOCK), default=0)

    def note_clock(self, not_before: int, *, kept_from: int) -> None:
        """Commit a row about clocks."""
        row = self.number("", None, None, CLOCK, ended_at=not_before)
        self.show(row._replace(expires_at=self.needed_until(max(self.now_ms(), kept_from))))

    def number(
        self,
        user: str,
        handle: str | None,
        generation: int | None,
        reason: str,
        successor: str | None = None,
        epoch: str | None = None,
        *,
        ended_at: int = 0,
    ) -> Row:
        """A row that nobody sees yet."""
        self.last_seq += 1
        expires_at = TO_THE_LAST if epoch is not None else self.needed_until(self.kept_from(ended_at))
        nonce = secrets.token_hex(8)
        return Row(self.last_seq, user, handle, generation, reason, ended_at, expires_at, successor, nonce, epoch)

    def copy(self) -> Table:
        """A backup."""
        made = copy.copy(self)
        made.rows, made.generations = dict(self.rows), dict(self.generations)
        return made

    def renumbered(self, row: Row) -> Row:
        """A row again, under the next number."""
        self.last_seq += 1
        return row._replace(seq=self.last_seq, nonce=row.nonce or secrets.token_hex(8))

    def of_end(self, row: EndRow) -> Row:
        """The row of a session's end, which nobody sees yet."""
        return self.number(row.user, row.handle, None, row.reason, row.successor, ended_at=row.ended_at)

    def in_order(self) -> list[Row]:
        """What is committed."""
        return [row for _, row in sorted(self.rows.items())]

    def nonces(self, checked: Collection[int]) -> dict[int, str | None]:
        """Of those of these rows that are committed."""
        return {row.seq: row.nonce for row in self.in_order() if row.seq in checked}

    def show(self, row: Row) -> None:
        """Commit a row."""
        self.rows[row.seq] = row
        self.last_seq = max(self.last_seq, row.seq)
        self.take_effect(row)

    def take_effect(self, row: Row) -> None:
        """What a row does to the other tables."""
        if row.generation is not None:
            self.generations[row.user] = max(row.generation, self.generations.get(row.user, 0))
        if row.epoch is not None and row.epoch == self.deployment.epoch:
            self.deployment = self.deployment._replace(epoch=row.successor or "")


class FakeJournal:
    """The table, as one worker reaches it: `is_cut` while it does not.

    `table`: what the database's path, or name, leads to now. As with the real one, each call begins by opening that. The
    answer is of the table that was opened, whatever is put in its place meanwhile. A commit is told of only if the same
    table is still there when it is done.
    `ask_seconds`: how long the worker waits for an answer.
    """

    has_journal = True

    def __init__(self, table: Table) -> None:
        self.table = self._opened = table
        self.is_cut = False
        self.ask_seconds = ASK_SECONDS
        self.deployment: Deployment | None = None

    def belong_to(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def _check_whose(self, table: Table) -> None:
        own = None if self.deployment is None else self.deployment.id
        if own not in {None, table.deployment.id}:
            raise DatabaseUnavailable("another deployment's")

    def _is_at_its_path(self, opened: Table) -> bool:
        return opened is self.table

    async def _ask(self) -> Table:
        if not self._is_at_its_path(self._opened):
            self._opened = self.table
        table = self._opened
        await asyncio.sleep(self.ask_seconds)
        if self.is_cut:
            raise DatabaseUnavailable("cut")
        return table

    async def _commit(self, table: Table, rows: Sequence[Row]) -> None:
        self._check_whose(table)
        await asyncio.sleep(table.commit_seconds)
        if self.is_cut:
            raise DatabaseUnavailable("cut before the commit")
        for row in rows:
            table.show(row)
        if not self._is_at_its_path(table):
            raise DatabaseUnavailable("the database's file was replaced")  # as `Database` finds by the file's inode

    async def record(self, rows: Sequence[EndRow]) -> None:
        table = await self._ask()
        for row in rows:
            await self._commit(table, [table.of_end(row)])

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
        table = await self._ask()
        async with table.turns[user]:
            generation = max(table.generations.get(user, 0), seen) + 1
            await self._commit(table, [table.number(user, None, generation, reason, ended_at=ended_at)])
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
        table = await self._ask()
        user = rotation.user
        async with table.turns[user]:
            is_ended = any((row.user, row.handle) == (user, rotation.handle) for row in table.rows.values())
            now = table.generations.get(user, 0)
            if is_ended or now > current.generation or table.deployment.epoch != current.epoch:
                return False
            raised: list[Row] = []
            if revokes is not None:
                raised = [table.number(user, None, current.generation + 1, revokes, ended_at=rotation.ended_at)]
            await self._commit(table, [*raised, table.of_end(rotation)])
        return True

    async def current(self, user: str) -> Current:
        table = await self._ask()
        self._check_whose(table)
        return Current(table.generations.get(user, 0), table.deployment.epoch)

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        table = await self._ask()
        async with table.turns[""]:
            before, after = table.deployment.epoch, secrets.token_hex(8)
            await self._commit(table, [table.number("", None, None, reason, after, before, ended_at=ended_at)])
        return EpochChange(before, after)

    async def recommit(self, rows: Sequence[Row], sentinels: SentinelRow) -> int:
        table = await self._ask()
        async with table.turns[""]:
            lacking: list[Row] = []
            for row in rows:
                if row.reason != REGISTERED and not any(_does_same(row, each) for each in [*table.in_order(), *lacking]):
                    lacking.append(row)
            await self._commit(table, [table.renumbered(row) for row in lacking])
            for row in rows:
                table.take_effect(row)
            word = table.deployment.restored or secrets.token_hex(8)
            table.deployment = table.deployment._replace(restored=word)
            if table.deployment.sentinels.is_before(sentinels):
                table.deployment = table.deployment._replace(sentinels=sentinels)
        return len(lacking)

    async def lacks(self, rows: Sequence[Row]) -> bool:
        there = (await self._ask()).in_order()
        return not all(any(_does_same(row, each) for each in there) for row in rows)

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        rows = (await self._ask()).in_order()
        return next((row.reason for row in rows if row.epoch is None and row.ends(ref, Current(generation, ""))), None)

    async def newest(self, limit: int) -> list[Row]:
        return (await self._ask()).in_order()[-limit:]

    async def raised(self, after: int, limit: int) -> list[Row]:
        rows = (await self._ask()).in_order()
        return [row for row in rows if row.seq > after and row.handle is None and row.reason != REGISTERED][:limit]

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        wanted, asked = set(gaps), set(checked)  # as the statement is sent: they are the tail's own
        table = await self._ask()
        rows = [row for row in table.in_order() if row.seq > after or row.seq in wanted][:limit]
        return Reading(rows, table.nonces(asked), table.deployment)

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        table = await self._ask()
        keys: set[tuple[str, str | None]] = set(refs)
        rows = [row for row in table.in_order() if (row.user, row.handle) in keys]
        users = {ref.user for ref in refs}
        generations = {user: number for user, number in table.generations.items() if user in users}
        return LookedUp(rows, generations, table.deployment, table.nonces(checked))

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        table = await self._ask()
        self._check_whose(table)
        rows = [row for row in table.in_order() if row.user == ref.user]
        following = {row.handle: row.successor for row in rows if row.successor is not None}
        handle, found = following.get(ref.handle), list[str]()
        while handle is not None and len(found) <= limit:
            found.append(handle)
            handle = following.get(handle)
        ended = {row.handle for row in rows}
        return Successors([SessionRef(ref.user, each) for each in found if each not in ended], is_complete=len(found) <= limit)

    async def of_user(self, user: str) -> list[Row]:
        return [row for row in (await self._ask()).in_order() if row.user == user]

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        table = await self._ask()
        known = table.deployment
        lease = lease_ms if known.lease_ms is None else known.lease_ms
        table.deployment = known._replace(lease_ms=lease, name=name if known.name is None else known.name)
        return table.deployment

    async def raise_sentinels(self, to: SentinelRow) -> SentinelRow:
        def is_lower(now: SentinelRow) -> bool:
            return now.base == to.base and now.epoch < to.epoch

        return await self._change_sentinels(to, is_lower)

    async def accept_sentinels(self, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
        def is_seen(now: SentinelRow) -> bool:
            return now[:2] == seen[:2]

        return await self._change_sentinels(SentinelRow(seen.base + 1, epoch, primary), is_seen)

    async def _change_sentinels(self, to: SentinelRow, may: Callable[[SentinelRow], bool]) -> SentinelRow:
        table = await self._ask()
        async with table.turns[""]:
            await self._commit(table, [])
            if may(table.deployment.sentinels):
                table.deployment = table.deployment._replace(sentinels=to)
            return table.deployment.sentinels

    async def clear_restored(self, *, seen: str) -> None:
        table = await self._ask()
        if table.deployment.restored == seen:
            table.deployment = table.deployment._replace(restored=None)

    async def prune(self, due_at: int, limit: int) -> int:
        table = await self._ask()
        newest = max(table.rows, default=0)
        due = [row.seq for row in table.in_order() if row.expires_at < due_at and row.seq < newest][:limit]
        ended_at = max((table.rows[seq].ended_at for seq in due), default=0)
        if ended_at > table.not_before():
            table.note_clock(ended_at + table.longest_ms // NOTES_PER_LIFETIME, kept_from=0)
        for seq in due:
            del table.rows[seq]
        return len(due)

    async def note_set_back(self, not_before: int, *, sealed_until: int) -> None:
        table = await self._ask()
        if not_before > table.not_before():
            table.note_clock(not_before, kept_from=sealed_until)

    async def now_ms(self) -> int:
        return (await self._ask()).now_ms()


def _does_same(row: Row, other: Row) -> bool:
    if row.epoch is not None:
        return other.epoch == row.epoch
    if row.reason == CLOCK:
        return other.reason == CLOCK and other.ended_at >= row.ended_at
    if row.handle is not None:
        return (other.user, other.handle) == (row.user, row.handle)
    return other.user == row.user and other.handle is None and (other.generation or 0) >= (row.generation or 0)
