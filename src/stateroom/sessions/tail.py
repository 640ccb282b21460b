"""The journal's recent rows in memory, read five times a second.

Rows commit out of the order of their numbers: a number that was skipped may still come. So each read asks for the
gaps too, until they are older than any transaction can be. `contiguous` is the number up to which nothing is missing.

A request that needs to know what was committed before it began waits for a read that begins after it; those that
wait together share one. Times are of the monotonic clock, in seconds.

Of the rows that ended single sessions the last are enough: a store says which it lacks (apply.py). Those that ended all
of a user's are held from the start on for as long as they are needed, because a store may have what they end: a sign-in
that was slow is stored after the row was applied, and a session that an evicted index does not name is not found then.
That takes a third of a kilobyte for each user who was signed out everywhere within the longest life of a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from ..errors import DatabaseUnavailable
from .rows import Row

if TYPE_CHECKING:
    from .clock import StoreClock
    from .rows import EndsJournal

log = structlog.get_logger(__name__)

LEASE_SECONDS = 0.5
"""How old what a worker knows may be. An end is acknowledged a lease after its commit: by then everybody knows it."""
READ_INTERVAL_SECONDS = 0.2
PATIENCE_SECONDS = 1.0
"""A journal that takes longer to answer is away."""
GAP_SECONDS = 10.0
"""Longer than any transaction lives."""
GAPS_LOOKED_FOR = 1000
ROWS_AT_START = 1000
ROWS_AT_ONCE = 2000
ROWS_KEPT = 20_000

Listener = Callable[[Sequence[Row]], None]


class Tail:
    """One worker's copy. Rows numbered up to `floor` are not in it, but for those that ended all of a user's sessions.

    `ended`: the row that ended a session, by its user and handle: a user may write rows about handles that are another's.
    `generations`: the last row that ended all of a user's. `unwritten`: ends that are acknowledged and wait for the journal
    to come back, by user and handle too.
    `read_at`: when the last read began that succeeded.
    """

    def __init__(self, journal: EndsJournal, clock: StoreClock) -> None:
        self._journal = journal
        self._clock = clock
        self._rows: deque[Row] = deque()
        self._gaps: dict[int, float] = {}
        self._highest = 0
        self._listeners: list[Listener] = []
        self._reading: asyncio.Task[None] | None = None
        self._began_at = 0.0
        self.unwritten: dict[tuple[str, str], Row] = {}
        self.ended: dict[tuple[str, str], Row] = {}
        self.generations: OrderedDict[str, Row] = OrderedDict()
        self.floor = 0
        self.read_at = 0.0
        self.has_read = False
        self.is_away = False

    def listen(self, listener: Listener) -> None:
        """Call this with each read's new rows, before anybody else acts on them."""
        self._listeners.append(listener)

    def acknowledge(self, user: str, handle: str, row: Row) -> None:
        """An end that waits for the journal is as good as one of its rows."""
        self.unwritten[user, handle] = row
        for listener in self._listeners:
            listener([row])

    @property
    def highest(self) -> int:
        """The highest number that has been read."""
        return self._highest

    @property
    def contiguous(self) -> int:
        """Every row numbered up to this has been read, or never existed."""
        return min(self._gaps) - 1 if self._gaps else self._highest

    @property
    def age(self) -> float:
        """Seconds since the last read began that succeeded."""
        return time.monotonic() - self.read_at

    def reason(self, user: str, handle: str, generation: int) -> str | None:
        """Why this session ended, as far as the tail knows."""
        row = self.ended.get((user, handle)) or self.unwritten.get((user, handle))
        if row is not None:
            return row.reason
        row = self.generations.get(user)
        if row is not None and row.ends(user, handle, generation):
            return row.reason
        return None

    def after(self, seq: int) -> list[Row]:
        """Rows numbered higher than `seq`, which must be the floor or above it."""
        return [row for row in self._rows if row.seq > seq]

    async def run(self) -> None:
        """Read until cancelled. What a read takes, on a busy loop most of all, does not put the next one off."""
        while True:
            began = time.monotonic()
            with contextlib.suppress(DatabaseUnavailable):
                await self.catch_up()
            await asyncio.sleep(max(0.0, began + READ_INTERVAL_SECONDS - time.monotonic()))

    async def catch_up(self) -> None:
        """Return when a read has succeeded that began after this was called. Raises `DatabaseUnavailable`.

        Where a read fails or takes too long the journal is away, until a regular read finds it back.
        """
        asked = time.monotonic()
        while self.read_at < asked:
            if self._reading is None:
                self._began_at = time.monotonic()
                self._reading = asyncio.create_task(self._read(self._began_at), name="stateroom journal read")
                self._reading.add_done_callback(_heard)
            reading = self._reading
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + PATIENCE_SECONDS):
                    await asyncio.shield(reading)
            except TimeoutError:
                self.is_away = True
                raise DatabaseUnavailable("the journal takes too long to answer") from None

    async def catch_up_if_there(self) -> None:
        """The same, but a journal that is known to be away is not waited for. Raises `DatabaseUnavailable`."""
        if self.is_away:
            raise DatabaseUnavailable("the journal does not answer")
        await self.catch_up()

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, DatabaseUnavailable):
                await self._reading

    async def _read(self, began_at: float) -> None:
        try:
            if not self.has_read:
                newest = await self._journal.newest(ROWS_AT_START)
                await self._read_generations()
                self._begin(newest)
            while True:
                rows = await self._journal.read(self._highest, self._gaps, ROWS_AT_ONCE)
                self._take(rows)
                if len(rows) < ROWS_AT_ONCE:
                    break
        except DatabaseUnavailable:
            self.is_away = True
            raise
        finally:
            self._reading = None
        if self.is_away:
            log.info("journal_back")
        self.has_read, self.is_away, self.read_at = True, False, began_at

    def _begin(self, rows: list[Row]) -> None:
        if rows:
            self.floor = rows[0].seq - 1 if len(rows) == ROWS_AT_START else 0
            self._highest = max(0, rows[0].seq - 1 - GAPS_LOOKED_FOR)
            self._take(rows)

    async def _read_generations(self) -> None:
        after, is_more = 0, True
        while is_more:
            rows = await self._journal.raised(after, ROWS_AT_ONCE, needed_at=self._clock.now_ms())
            for row in rows:
                self._keep_generation(row)
                after = row.seq
            is_more = len(rows) == ROWS_AT_ONCE

    def _take(self, rows: list[Row]) -> None:
        now = time.monotonic()
        self._forget_generations()
        for gap in [gap for gap, seen_at in self._gaps.items() if now - seen_at > GAP_SECONDS]:
            del self._gaps[gap]
        new = []
        for row in rows:
            if row.seq > self._highest:
                for gap in range(max(self._highest + 1, row.seq - GAPS_LOOKED_FOR), row.seq):
                    self._gaps[gap] = now
                self._highest = row.seq
            elif self._gaps.pop(row.seq, None) is None:
                continue  # known
            self._keep(row)
            new.append(row)
        while len(self._gaps) > GAPS_LOOKED_FOR:
            del self._gaps[next(iter(self._gaps))]
        if new:
            for listener in self._listeners:
                listener(new)

    def _keep(self, row: Row) -> None:
        self._rows.append(row)
        if row.handle is not None:
            self.ended.setdefault((row.user, row.handle), row)
        else:
            self._keep_generation(row)
        while len(self._rows) > ROWS_KEPT:
            self._drop(self._rows.popleft())

    def _drop(self, row: Row) -> None:
        self.floor = max(self.floor, row.seq)
        if row.handle is not None and self.ended.get((row.user, row.handle)) is row:
            del self.ended[row.user, row.handle]

    def _keep_generation(self, row: Row) -> None:
        known = self.generations.get(row.user)
        if known is None or (known.generation or 0) < (row.generation or 0):
            self.generations[row.user] = row
            self.generations.move_to_end(row.user)

    def _forget_generations(self) -> None:
        """Those that no session can be older than any more; the oldest come first."""
        now = self._clock.now_ms()
        while self.generations and next(iter(self.generations.values())).expires_at <= now:
            self.generations.popitem(last=False)


def _heard(reading: asyncio.Task[None]) -> None:
    """Its error was said to whoever waited, if anybody still did."""
    if not reading.cancelled():
        reading.exception()
