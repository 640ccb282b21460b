"""The journal's recent rows in memory, read every 0.2 s, or more often if the lease is short (intervals.py).

Some requests must know every row that was committed before they began. They wait for a read that begins after them. Requests
that wait together share one read. Times are of the monotonic clock, in seconds.

A database may be restored from a backup while a worker runs. Then the last rows are missing, and a new end would get a number
that was read already. A read notices it (checked_rows.py). The worker then commits again the rows that the tail holds and the
journal lacks, and the tail starts over. A read also checks the rows that this worker committed before the read began. A row
that was committed just before the restore may never have been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import DatabaseUnavailable
from ...intervals import interval, patience
from ...logs import get_logger
from ..model.deployment import SentinelRow
from ..model.identity import SessionRef
from ..model.rows import Row
from .checked_rows import Checked, is_older, last_of
from .held_rows import ROWS_KEPT, HeldRows
from .read_numbers import ReadNumbers
from .same_deployment import SameDeployment

if TYPE_CHECKING:
    from ..model.clock import Clock
    from ..model.deployment import Deployment
    from .interface import EndsJournal

log = get_logger(__name__)

_RESTORED = (
    "none needed if a worker ran during the restore; if every worker was stopped at some time since then, "
    "run `stateroom sessions revoke --all`, because the sign-outs since the backup are lost"
)

ROWS_AT_START = 1000
ROWS_AT_ONCE = 2000
QUIET_SECONDS = 2.0
"""How long the other workers have, after a restore of the database, to commit again the rows that only they hold."""
assert ROWS_AT_START <= ROWS_KEPT

Listener = Callable[[Sequence[Row]], None]
RowListener = Callable[[SentinelRow, float], None]


class Tail(HeldRows):
    """One worker's copy of the journal's recent rows: what it holds, and the reads that bring it.

    `read_at`: when the last read began that succeeded. 0 before the first, and again if the database went back.
    `has_read`: whether a read has succeeded. `is_away`: the last read failed.
    `restored`: a random word while sessions may be left of users whom a restored database lacks; None in good times.
    `sentinels`: what the workers have agreed on about the primary, as this worker last read or committed it. By base and
    epoch it never decreases. `on_sentinels` is called with each read of it, and with the time when the read began.
    `restarts`: how often the tail has started over, because the database went back. It never decreases.
    `checked`: the last rows that were read. They must still exist.
    `_own`: what this worker has committed, and when, until a read that began later has succeeded.
    `_is_suspect`: the next read starts over. `_quiet_until`: until then the journal counts as unavailable.
    """

    def __init__(self, journal: EndsJournal, clock: Clock, deployment: Deployment, *, lease_ms: int) -> None:
        super().__init__()
        self._journal = journal
        self._clock = clock
        self._deployment = deployment
        self._same_deployment = SameDeployment(deployment, lease_ms=lease_ms)
        self._lease_ms = lease_ms
        self._interval = interval(lease_ms / 1000)
        self._patience = patience(lease_ms / 1000)
        self._numbers = ReadNumbers()
        self.checked: Checked = {}
        self._is_suspect = False
        self._quiet_until = 0.0
        self.restored: str | None = None
        self.restarts = 0
        self._own: deque[tuple[float, Row]] = deque()
        self._listeners: list[Listener] = []
        # When `sentinels` had certainly been committed. Reads that began earlier may show an older state.
        self._sentinels_at = 0.0
        self.sentinels = SentinelRow()
        self.on_sentinels: RowListener | None = None
        self._reading: asyncio.Task[None] | None = None
        self.read_at = 0.0
        self.has_read = False
        self.is_away = False

    def listen(self, listener: Listener) -> None:
        """Call this with each read's new rows, before anybody else acts on them."""
        self._listeners.append(listener)

    def acknowledge(self, ref: SessionRef, row: Row) -> None:
        """Take an end that waits for the journal. It counts as a row of the journal."""
        self.unwritten[ref] = row
        for listener in self._listeners:
            listener([row])

    def remember(self, row: Row) -> None:
        """Note a row that this worker has committed. Until a read brings it, only this worker could commit it again."""
        self._own.append((time.monotonic(), row))

    def remember_sentinels(self, row: SentinelRow) -> None:
        """Note a state of the row that this worker has just committed or found."""
        if self.sentinels.is_before(row):
            self.sentinels, self._sentinels_at = row, time.monotonic()

    @property
    def highest(self) -> int:
        """The highest number that has been read."""
        return self._numbers.highest

    @property
    def contiguous(self) -> int:
        """Every row numbered up to this has been read, or never existed."""
        return self._numbers.contiguous

    @property
    def age(self) -> float:
        """Seconds since the last read began that succeeded."""
        return time.monotonic() - self.read_at

    async def run(self) -> None:
        """Read until cancelled. A slow read does not delay the next one."""
        while True:
            began = time.monotonic()
            with contextlib.suppress(DatabaseUnavailable):
                await self.catch_up()
            await asyncio.sleep(max(0.0, began + self._interval - time.monotonic()))

    async def catch_up(self) -> None:
        """Return when a read has succeeded that began after this call. Raises `DatabaseUnavailable`.

        If a read fails or takes too long, the journal counts as unavailable until a regular read succeeds.
        """
        asked = time.monotonic()
        while self.read_at < asked:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(time.monotonic()), name="stateroom journal read")
                self._reading.add_done_callback(_heard)
            reading = self._reading
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._patience):
                    await asyncio.shield(reading)
            except TimeoutError:
                self.is_away = True
                raise DatabaseUnavailable("the journal takes too long to answer") from None

    async def catch_up_if_there(self) -> None:
        """`catch_up`, but raise `DatabaseUnavailable` at once if the journal is known to be unavailable."""
        if self.is_away:
            raise DatabaseUnavailable("the journal does not answer")
        await self.catch_up()

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, DatabaseUnavailable):
                await self._reading

    def start_over(self) -> None:
        """Another part found that the database was restored. The next read commits again the rows that it lacks and starts over."""
        self._is_suspect, self.read_at = True, 0.0

    def went_back(self, checked: Checked, nonces: Mapping[int, str | None]) -> bool:
        """Whether rows are missing that existed before. `checked`: as it was when the query was sent (checked_rows.py)."""
        return is_older(checked, nonces, self._clock.now_ms())

    async def _start_over(self) -> None:
        """Commit again the rows that the restored database lacks, and forget everything."""
        held = [*self._in_order(), *(row for _, row in self._own)]
        count = await self._journal.recommit(held, self.sentinels)
        log.warning("database_restored", recommitted=count, fix=_RESTORED)
        self._forget_numbered()
        self._numbers.clear()
        self.checked = {}
        self.has_read = self._is_suspect = False
        self.read_at = 0.0
        self.restarts += 1
        self._quiet_until = time.monotonic() + QUIET_SECONDS

    async def _read(self, began_at: float) -> None:
        try:
            if time.monotonic() < self._quiet_until:
                raise DatabaseUnavailable("the user database was restored; other workers commit their ends again")  # noqa: TRY301
            if not self.has_read:
                await self._start()
            while True:
                reading = await self._journal.read(self.highest, self._numbers.gaps, ROWS_AT_ONCE, checked=self.checked)
                row = self._same_deployment.check(reading.deployment)
                is_earlier = row.sentinels.is_before(self.sentinels) and began_at >= self._sentinels_at
                if is_earlier or self._is_suspect or row.epoch in self.replaced or self.went_back(self.checked, reading.nonces):
                    await self._start_over()
                    raise DatabaseUnavailable("the user database was restored")  # noqa: TRY301
                self._take(reading.rows)
                self._deployment.epoch, self.restored = row.epoch, row.restored
                if len(reading.rows) < ROWS_AT_ONCE:
                    break
            if await self._has_lost_own(began_at):
                await self._start_over()
                raise DatabaseUnavailable("the user database was restored")  # noqa: TRY301
        except DatabaseUnavailable:
            self.is_away = True
            raise
        finally:
            self._reading = None
        if self.is_away:
            log.info("journal_back")
        self.has_read, self.is_away, self.read_at = True, False, began_at
        self.remember_sentinels(row.sentinels)
        if self.on_sentinels is not None:
            self.on_sentinels(row.sentinels, began_at)
        while self._own and self._own[0][0] < began_at:
            self._own.popleft()

    async def _has_lost_own(self, moment: float) -> bool:
        """Whether the journal lacks a row that this worker committed before this moment and no read has brought."""
        unseen = [row for at, row in self._own if at < moment and not self._has_read(row)]
        return bool(unseen) and await self._journal.lacks(unseen)

    async def _start(self) -> None:
        self._same_deployment.check(await self._journal.agree(lease_ms=self._lease_ms, name=self._deployment.name))
        newest = await self._journal.newest(ROWS_AT_START)
        await self._read_ends_of_many()
        self._begin(newest)

    def _begin(self, rows: Sequence[Row]) -> None:
        if rows:
            self.floor = rows[0].seq - 1 if len(rows) == ROWS_AT_START else 0
            self._numbers.begin_at(rows[0].seq)
            self._take(rows)

    async def _read_ends_of_many(self) -> None:
        after, is_more = 0, True
        while is_more:
            rows = await self._journal.raised(after, ROWS_AT_ONCE)
            for row in rows:
                self._keep_end_of_many(row)
                after = row.seq
            is_more = len(rows) == ROWS_AT_ONCE

    def _take(self, rows: Sequence[Row]) -> None:
        new = self._numbers.new_among(rows)
        for row in new:
            self._keep(row)
        if new:
            self.checked = last_of(new)
            for listener in self._listeners:
                listener(new)


def _heard(reading: asyncio.Task[None]) -> None:
    """Take the error out of the task. Every request that waited has got it."""
    if not reading.cancelled():
        reading.exception()
