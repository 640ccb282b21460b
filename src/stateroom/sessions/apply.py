"""Bringing the journal's ends into the store.

The store holds a mark: the number up to which every row of the journal has been applied to it. It is replicated and
saved with the sessions, so a promoted replica, or a server restored from an old disk, says by itself from where to go
on; a failover has no path of its own. One loop deletes what the journal has from the mark on, then moves the mark:
each worker runs it on each new connection to a primary, the sweeping worker each second.

A connection is *covered* once every row that its store may lack is in the tail. Until then loads ask the journal by
key, and the loop catches up in batches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import structlog

from ..errors import SettingsError, StoreUnavailable, Unavailable
from .keys import Address

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..backend.standing import Standing
    from .keys import Keys
    from .rows import EndsJournal, Row
    from .store import SessionStore
    from .tail import Tail

log = structlog.get_logger(__name__)

TURN_SECONDS = 1.0
RETRY_SECONDS = 0.1
ROWS_AT_ONCE = 500


class Apply:
    """One worker's loop. `covered`: the connection to each primary (its serial) over which the tail covers its store.

    `sweeps` says whether this worker is the one that applies each second. `is_fleet`: several hosts may share the
    store, so that it must be made sure that they share the journal.
    """

    def __init__(
        self, client: RedisClient, store: SessionStore, journal: EndsJournal, tail: Tail, keys: Keys, *, is_fleet: bool
    ) -> None:
        self._is_fleet = is_fleet
        self._client = client
        self._store = store
        self._journal = journal
        self._tail = tail
        self._keys = keys
        self._wake = asyncio.Event()
        self._marks: dict[Standing, tuple[int, int]] = {}
        self._fleet_id: str | None = None
        self.covered: dict[Standing, int] = {}
        self.sweeps = False
        self.is_foreign = False

    def hurry(self) -> None:
        """There is a connection that is not covered: see to it now."""
        self._wake.set()

    async def run(self) -> None:
        """Apply until cancelled."""
        while True:
            done = False
            with contextlib.suppress(Unavailable):
                done = await self.turn()
            self._wake.clear()
            if not done:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._wake.wait()

    async def turn(self) -> bool:
        """Look at every primary's mark; apply where this worker should. Whether nothing is left to do.

        Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        if not self._tail.has_read:
            await self._tail.catch_up()
        now = {key: (standing, standing.serial) for key in self._client.shards() if (standing := self._client.standing(key)).serial}
        self.covered = {standing: self.covered[standing] for standing, _ in now.values() if standing in self.covered}
        marks, is_new = {}, False
        away: set[Standing] = set()
        faults: list[StoreUnavailable] = []
        for key, (standing, serial) in now.items():
            is_new |= self.covered.get(standing) != serial
            if is_new:
                await self._look_whose(key)
            if self.is_foreign:  # its mark is not ours to move
                self.covered.clear()
                return False
            try:
                mark = await self._mark(key, standing, serial)
            except StoreUnavailable as fault:  # a Cluster's other shards go on
                faults.append(fault)
                away.add(standing)
                continue
            marks[key] = mark
            self._marks[standing] = serial, mark
            if standing.serial == serial and mark >= self._tail.floor and not self.is_foreign:
                self.covered[standing] = serial
            else:
                self.covered.pop(standing, None)
        if marks and (self.sweeps or is_new):
            await self._catch_up(marks, {key: now[key] for key in marks}, away)
        if faults:
            raise faults[0]
        return bool(marks) and all(self.covered.get(standing) == serial for standing, serial in now.values())

    async def check_fleet(self) -> None:
        """Where hosts may share the store, see that this journal and the store belong to one fleet, if that can be asked.

        Raises `SettingsError`: two hosts with databases of their own would undo each other's ends.
        """
        if not self._is_fleet:
            return
        with contextlib.suppress(Unavailable):
            for key in self._client.shards():
                await self._claim(key)
        if self.is_foreign:
            raise SettingsError(
                "DATABASE_URL: Redis holds the sessions of a fleet with another user database; give every host the same "
                "database, or this one a REDIS_KEY_PREFIX of its own"
            )

    async def _claim(self, key: str) -> None:
        """Leave the fleet's id in the store, or find another's there."""
        if self._fleet_id is None:
            self._fleet_id = await self._journal.fleet_id()
        name = self._keys.on_shard(key, "fleet")
        found = await self._client.execute(name, "GET", name)
        if found is None:
            await self._client.execute(name, "SET", name, self._fleet_id, "NX")
            found = await self._client.execute(name, "GET", name)
        self.is_foreign = found is not None and found.decode() != self._fleet_id

    async def _look_whose(self, key: str) -> None:
        """The same, where that matters and can be done now."""
        if not self._is_fleet:
            return
        before = self.is_foreign
        with contextlib.suppress(StoreUnavailable):  # a store that takes no writes has no id to contradict ours
            await self._claim(key)
        if self.is_foreign and not before:
            log.error("foreign_fleet", mend="give every host the same DATABASE_URL, or another REDIS_KEY_PREFIX")

    async def _mark(self, key: str, standing: Standing, serial: int) -> int:
        """Up to where the store has the journal."""
        name = self._keys.on_shard(key, "mark")
        raw = await self._client.execute(name, "GET", name)
        if raw is not None and self.covered.get(standing) == serial:
            return int(raw)
        if raw is None:
            await self._look_whose(key)
            return await self._begin(name, standing, serial)
        if int(raw) > self._tail.highest:
            await self._tail.catch_up()
            if int(raw) > self._tail.highest:
                log.warning("journal_replaced", mark=int(raw), highest=self._tail.highest)
                await self._client.execute(name, "SET", name, 0)
                return 0
        return int(raw)

    async def _begin(self, name: str, standing: Standing, serial: int) -> int:
        """A store without a mark: one that was flushed under our eyes, a new one, or one older than the journal."""
        known_serial, known = self._marks.get(standing, (0, 0))
        if known_serial != serial:
            current = self._tail.contiguous
            known = current if await self._store.count_active() == 0 else 0
        await self._move(name, known, standing, serial)
        return known

    async def _catch_up(self, marks: dict[str, int], now: dict[str, tuple[Standing, int]], away: Collection[Standing]) -> None:
        """Apply what the tail does not hold, in batches, then what it does; move the marks along.

        `away`: shards that do not answer. Their marks stay, so that they are told when they do.
        """
        at = min(marks.values())
        while at < self._tail.floor:
            rows = await self._journal.read(at, (), ROWS_AT_ONCE)
            await self._apply(rows, away)
            if not rows:
                at = self._tail.floor
                break
            at = min(rows[-1].seq, self._tail.contiguous)
            await self._move_all(at, marks, now)
            if at < rows[-1].seq:
                break
        reached = self._tail.contiguous
        await self._apply(self._tail.after(at), away)
        await self._move_all(reached, marks, now)
        for key, (standing, serial) in now.items():
            if standing.serial == serial and max(marks[key], reached) >= self._tail.floor and not self.is_foreign:
                self.covered[standing] = serial

    async def _apply(self, rows: Sequence[Row], away: Collection[Standing] = ()) -> None:
        present = self._store.now_ms()
        needed = [row for row in rows if row.expires_at > present]
        for begin in range(0, len(needed), ROWS_AT_ONCE):
            some = needed[begin : begin + ROWS_AT_ONCE]
            outcomes = await asyncio.gather(*(self._apply_one(row) for row in some), return_exceptions=True)
            for row, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, BaseException) and self._client.standing(self._key_of(row)) not in away:
                    raise outcome

    async def _apply_one(self, row: Row) -> None:
        if row.handle is not None:
            await self._store.end_at_once(Address(row.user, row.handle))
        else:
            await self._store.end_older(row.user, row.generation or 0)

    def _key_of(self, row: Row) -> str:
        return self._store.user_key(row.user) if row.handle is None else self._store.key(Address(row.user, row.handle))

    async def _move_all(self, to: int, marks: dict[str, int], now: dict[str, tuple[Standing, int]]) -> None:
        for key, (standing, serial) in now.items():
            if marks[key] < to:
                await self._move(self._keys.on_shard(key, "mark"), to, standing, serial)
                marks[key] = to

    async def _move(self, name: str, to: int, standing: Standing, serial: int) -> None:
        """Set the mark, on the connection over which the rows were applied and no other."""
        if standing.serial != serial or not standing.believed_until:
            raise StoreUnavailable("the connection to Redis changed meanwhile")
        await self._client.execute(name, "SET", name, to)
        self._marks[standing] = serial, to
