"""Replaying the journal's ends into the store.

The store holds a cursor (the documentation says mark): every row of the journal up to this number has been replayed into
the store. The cursor is replicated and saved with the sessions, so it is right for a promoted replica and for a server that
was restored from an old disk. A failover needs no code of its own. One loop deletes the sessions that rows after the cursor
end, then moves the cursor. Each worker runs the loop on each new connection to a primary, and the sweeping worker runs it
each second.

In a Cluster the cursor is right only for the slots that are stored with it. A primary that gets another slot may get
sessions that rows before the cursor end, so its cursor goes back to the beginning. While slots move one after the other, the
loop waits, because it would begin again after each.

A connection is *covered* once every row that its store may lack is in the tail. Until then loads look sessions up in the
journal, and the loop catches up in batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import StoreUnavailable, Unavailable
from ...logs import get_logger
from ..model.identity import SessionRef
from ..model.rows import EVERYBODY, TO_THE_LAST
from .cursors import Cursors

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ...backend.standing import Glimpse, Standing
    from ...telemetry.metrics import Metrics
    from ..journal.interface import EndsJournal
    from ..journal.tail import Tail
    from ..model.rows import Row
    from ..store.key_names import KeyNames
    from ..store.session_store import SessionStore
    from .epochs import Epochs
    from .membership import Membership

log = get_logger(__name__)

TURN_SECONDS = 1.0
RETRY_SECONDS = 0.1
ROWS_AT_ONCE = 500
REST_SECONDS = 2.0
"""How long a primary's slots must stay the same before rows are replayed into it that the tail does not hold."""


@dataclass(slots=True)
class ShardProgress:
    """How far the journal is replayed into one primary.

    `shard`: a key that it holds.
    `seen`: the connection over which `cursor` was read or written; None before the first.
    `cursor`: every row up to this number is in the store; it never decreases over one connection, except to 0 for a
    journal that was replaced.
    `slots_value`: what the store says of the slots for which `cursor` is right; empty without a Cluster.
    `covered`: the connection over which the tail covers the store; None if none does. If it is not the present connection,
    it counts for nothing.
    `rests_until`: until this time of the monotonic clock the primary's slots may still be changing.
    `is_away`: the shard did not answer in this turn.
    """

    shard: str
    seen: Glimpse | None = None
    cursor: int = 0
    slots_value: str = ""
    covered: Glimpse | None = None
    rests_until: float = 0.0
    is_away: bool = False


class Replay:
    """One worker's loop.

    `sweeps`: whether this worker is the one that replays each second. `_restarts`: `Tail.restarts` when `_progress` was made.
    If the tail starts over, the replay starts over too.
    """

    def __init__(
        self,
        *,
        client: RedisClient,
        store: SessionStore,
        journal: EndsJournal,
        tail: Tail,
        key_names: KeyNames,
        membership: Membership,
        epochs: Epochs,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._membership = membership
        self._epochs = epochs
        self._restarts = 0
        self._client = client
        self._store = store
        self._journal = journal
        self._tail = tail
        self._cursors = Cursors(client, key_names)
        self._wake = asyncio.Event()
        self._progress: dict[Standing, ShardProgress] = {}
        self.sweeps = False

    def covers(self, glimpse: Glimpse) -> bool:
        """Whether the tail covers the store of this connection, which is still in use."""
        progress = self._progress.get(glimpse.standing)
        return (
            progress is not None
            and progress.covered is glimpse
            and glimpse.standing.glimpse is glimpse
            and self._restarts == self._tail.restarts
        )

    def hurry_unless_covered(self, glimpse: Glimpse) -> None:
        """Take the next turn now if this connection is in use and not covered."""
        if glimpse.connection_epoch and not self.covers(glimpse):
            self._wake.set()

    async def run(self) -> None:
        """Replay until cancelled."""
        while True:
            is_done = False
            self._wake.clear()  # before the turn: an event during the turn needs another turn
            with contextlib.suppress(Unavailable):
                is_done = await self.turn()
            if not is_done:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._wake.wait()

    async def turn(self) -> bool:
        """Read every primary's cursor, and replay if this worker should. Returns whether nothing is left to do.

        Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        if not self._tail.has_read:
            await self._tail.catch_up()
        if self._restarts != self._tail.restarts:
            self._progress, self._restarts = {}, self._tail.restarts
        now = self._connected_shards()
        has_new, fault = False, None
        for progress, glimpse in now:
            has_new |= progress.covered is not glimpse
            if has_new:
                with contextlib.suppress(StoreUnavailable):  # a store that takes no writes has no id to contradict ours
                    await self._membership.look(progress.shard)
            if self._membership.is_foreign:  # the cursor belongs to another deployment
                for each in self._progress.values():
                    each.covered = None
                return False
            try:
                if has_new or self.sweeps:
                    await self._epochs.compare(progress.shard)
                await self._read_cursor(progress, glimpse)
            except StoreUnavailable as error:  # a Cluster's other shards go on
                progress.is_away = True
                fault = fault or error
                continue
            is_covered = glimpse.still_holds() and progress.cursor >= self._tail.floor and not self._membership.is_foreign
            progress.covered = glimpse if is_covered else None
        there = [(progress, glimpse) for progress, glimpse in now if not progress.is_away and not self._rests(progress)]
        if there and (self.sweeps or has_new):
            await self._catch_up(there)
        if fault is not None:
            raise fault
        return bool(there) and all(progress.covered is glimpse for progress, glimpse in now)

    def _connected_shards(self) -> list[tuple[ShardProgress, Glimpse]]:
        """The primaries that are connected now, each over its present connection. All others are forgotten."""
        shards = [(shard, self._client.standing(shard)) for shard in self._client.shards()]
        before = self._progress
        self._progress = {
            standing: before.get(standing) or ShardProgress(shard) for shard, standing in shards if standing.connection_epoch
        }
        now = []
        for shard, standing in shards:
            if standing.connection_epoch:
                progress = self._progress[standing]
                if progress.shard != shard:  # the cursor under another key was written at another time
                    progress.shard, progress.seen = shard, None
                progress.is_away = False
                now.append((progress, standing.glimpse))
        return now

    def _rests(self, progress: ShardProgress) -> bool:
        """Whether many rows are to be replayed into a primary whose slots changed a moment ago. More slots may follow."""
        return progress.cursor < self._tail.floor and time.monotonic() < progress.rests_until

    async def _read_cursor(self, progress: ShardProgress, glimpse: Glimpse) -> None:
        """Read the number up to which the journal has been replayed into the store."""
        shard = progress.shard
        slots_value: str | None = progress.slots_value
        if progress.seen is not glimpse:
            slots_value = await self._cursors.slots_value(shard, glimpse.slots) if glimpse.slots else ""
        cursor = await self._cursors.read(shard)
        self._check_same(progress, glimpse)
        if progress.seen is not None and progress.seen.slots != glimpse.slots:
            progress.rests_until = time.monotonic() + REST_SECONDS
        if cursor is None:
            await self._membership.look(shard)
            if self._membership.is_foreign:
                raise StoreUnavailable("Redis was taken over by another deployment, and has its cursor")
            await self._begin(progress, glimpse)
            return
        if progress.covered is not glimpse and await self._went_back(shard, cursor):
            self._tail.start_over()
            await self._cursors.set(shard, glimpse.slots, 0)
            raise StoreUnavailable("the user database was restored; its journal is replayed from the beginning")
        if slots_value is None:
            cursor = 0
            slots_value = await self._cursors.set(shard, glimpse.slots, cursor)
        progress.seen, progress.cursor, progress.slots_value = glimpse, cursor, slots_value

    def _check_same(self, progress: ShardProgress, glimpse: Glimpse) -> None:
        """Raises `StoreUnavailable` if the connection or the primary's slots changed, or another primary has the key now."""
        if self._client.standing(progress.shard).glimpse is not glimpse:
            raise StoreUnavailable("the connection to Redis changed meanwhile")

    async def _went_back(self, shard: str, cursor: int) -> bool:
        """Whether the journal lacks rows that were replayed before: its database was restored from a backup."""
        if cursor > self._tail.highest:
            await self._tail.catch_up()
            if cursor > self._tail.highest:
                return True
        row = await self._cursors.row(shard)
        if row is None or not 0 < row[0] <= cursor:  # the release before moves the cursor alone
            return False
        seq, nonce = row
        reading = await self._journal.read(self._tail.highest, (), 1, checked=[seq])
        if seq in reading.nonces:
            return (reading.nonces[seq] or "") != nonce
        return seq > self._tail.floor  # further back it may have been pruned

    async def _begin(self, progress: ShardProgress, glimpse: Glimpse) -> None:
        """Set the cursor of a store that has none: the store was flushed, is new, or is older than the journal."""
        cursor = progress.cursor
        if progress.seen is not glimpse:
            current = self._tail.contiguous
            cursor = current if await self._store.count_active() == 0 else 0
        await self._note_row(progress, glimpse, cursor)
        slots_value = await self._cursors.set(progress.shard, glimpse.slots, cursor)
        progress.seen, progress.cursor, progress.slots_value = glimpse, cursor, slots_value

    async def _catch_up(self, there: Sequence[tuple[ShardProgress, Glimpse]]) -> None:
        """Replay in batches the rows that the tail does not hold, then those that it holds, and move the cursors.

        The cursor of a shard that does not answer stays, so that the rows are replayed when the shard answers. If this worker
        does not sweep, the cursors stay before an end of everybody's sessions: only the sweeping worker deletes those sessions.
        """
        sweeps = self.sweeps  # `self.sweeps` can change meanwhile
        at, limit = min(progress.cursor for progress, _ in there), TO_THE_LAST
        while at < self._tail.floor:
            rows = (await self._journal.read(at, (), ROWS_AT_ONCE)).rows
            await self._replay(rows if sweeps else _without_everybodys(rows))
            if not rows:
                at = self._tail.floor
                break
            limit = TO_THE_LAST if sweeps else _before_everybodys(rows)
            at = min(rows[-1].seq, self._tail.contiguous, limit)
            await self._move_all(there, at)
            if at < rows[-1].seq:
                break
        held = self._tail.after(at)
        reached = min(self._tail.contiguous, limit, TO_THE_LAST if sweeps else _before_everybodys(held))
        await self._replay(held if sweeps else _without_everybodys(held))
        await self._move_all(there, reached)
        for progress, glimpse in there:
            if glimpse.still_holds() and max(progress.cursor, reached) >= self._tail.floor and not self._membership.is_foreign:
                progress.covered = glimpse

    async def _replay(self, rows: Sequence[Row]) -> None:
        needed = [row for row in rows if row.handle is not None or row.generation is not None or row.epoch is not None]
        for begin in range(0, len(needed), ROWS_AT_ONCE):
            some = needed[begin : begin + ROWS_AT_ONCE]
            outcomes = await asyncio.gather(*(self._delete_ended(row) for row in some), return_exceptions=True)
            for row, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, BaseException) and not self._is_away(row):
                    raise outcome

    async def _delete_ended(self, row: Row) -> None:
        if row.handle is not None:
            await self._store.delete_without_waiting(SessionRef(row.user, row.handle))
        elif row.epoch is not None:
            async for ended in self._store.delete_epoch(row.epoch):  # no worker trusts them; this frees their memory
                self._metrics.sessions_ended[EVERYBODY].inc()
                self._metrics.session_lifetime.observe(ended.lifetime_seconds)
        else:
            await self._store.delete_older(row.user, row.generation or 0)

    def _is_away(self, row: Row) -> bool:
        """Whether the row's shard did not answer in this turn."""
        if row.epoch is not None:
            return any(progress.is_away for progress in self._progress.values())
        key = self._store.user_key(row.user) if row.handle is None else self._store.key(SessionRef(row.user, row.handle))
        progress = self._progress.get(self._client.standing(key))
        return progress is not None and progress.is_away

    async def _move_all(self, there: Sequence[tuple[ShardProgress, Glimpse]], to: int) -> None:
        for progress, glimpse in there:
            if progress.cursor < to:
                await self._move(progress, glimpse, to)

    async def _move(self, progress: ShardProgress, glimpse: Glimpse, to: int) -> None:
        """Set the cursor, only over the connection over which the rows were replayed, and only for the same slots."""
        await self._note_row(progress, glimpse, to)
        try:
            await self._cursors.move(progress.shard, progress.slots_value, to)
        except StoreUnavailable:
            progress.seen = None  # the next turn looks at the slots again
            raise
        progress.cursor = to

    async def _note_row(self, progress: ShardProgress, glimpse: Glimpse, to: int) -> None:
        self._check_same(progress, glimpse)
        if not glimpse.standing.is_connected:
            raise StoreUnavailable("the connection to Redis changed meanwhile")
        last = self._tail.last_until(to)
        if last is not None:
            await self._cursors.note_row(progress.shard, last.seq, last.nonce)


def _without_everybodys(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.epoch is None]


def _before_everybodys(rows: Sequence[Row]) -> int:
    """The number before the first end of everybody's sessions among these rows."""
    return min((row.seq for row in rows if row.epoch is not None), default=TO_THE_LAST + 1) - 1
