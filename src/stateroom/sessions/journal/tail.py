"""The journal's recent rows in memory, read every 0.2 s, or more often if the lease is short (intervals.py).

Rows commit out of the order of their numbers: a skipped number may still come. So each read asks for the gaps too,
until they are older than any transaction can be. `contiguous` is the number up to which nothing is missing.

Some requests must know every row that was committed before they began. They wait for a read that begins after them. Requests
that wait together share one read. Times are of the monotonic clock, in seconds.

For the ends of single sessions the last rows are enough, because the store's cursor tells which rows it lacks
(protocol/replay.py). Rows that ended all of a user's sessions are held from startup for as long as they are needed, because
the store may still have such a session: a slow sign-in stores it after the row was replayed, or the replay did not find it
because the user's index was evicted. The rows take a third of a kilobyte for each user who was signed out everywhere within
a session's longest life.

Each read also returns the deployment of the journal. If it is another deployment, or there is none, the journal counts as
unavailable: a host name that leads to another database for a while must not end any session.

A database may be restored from a backup while a worker runs. Then the last rows are missing, or other rows have their numbers,
and a new end would get a number that was read already. So each read checks the rows that the last read brought. If one is
missing or differs, the worker commits again the rows that the tail holds and the journal lacks, and the tail starts over.
A read also checks the rows that this worker committed before the read began. A row that was committed just before the
restore may never have been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import DatabaseUnavailable
from ...intervals import interval, patience
from ...logs import get_logger
from ..model.deployment import SentinelRow
from ..model.identity import SessionRef
from ..model.rows import CLOCK, EVERYBODY, Row

if TYPE_CHECKING:
    from ..model.clock import Clock
    from ..model.deployment import Current, Deployment, DeploymentRow
    from .interface import EndsJournal

log = get_logger(__name__)

_RESTORED = (
    "none needed if a worker ran during the restore; if every worker was stopped at some time since then, "
    "run `stateroom sessions revoke --all`, because the sign-outs since the backup are lost"
)

GAP_SECONDS = 10.0
"""Longer than any transaction takes."""
GAPS_LOOKED_FOR = 1000
ROWS_AT_START = 1000
ROWS_AT_ONCE = 2000
ROWS_KEPT = 20_000
QUIET_SECONDS = 2.0
"""How long the other workers have, after a restore of the database, to commit again the rows that only they hold."""
LAST_CHECKED = 50
"""How many of the last rows each read checks."""
assert ROWS_AT_START <= ROWS_KEPT

Checked = Mapping[int, tuple[str | None, int]]
"""Rows that must still exist: by number the nonce, and when the row is due. The mapping never changes."""
Listener = Callable[[Sequence[Row]], None]
RowListener = Callable[[SentinelRow, float], None]


class Tail:
    """One worker's copy of the journal's recent rows.

    `floor`: rows up to this number are not held, except those that ended all of a user's sessions. It never decreases.
    `ended`: the first row that ended a session. The key has the user too: a user may write rows about another's handle.
    `generations`: for each user the row with their highest generation, in the order in which the rows were read.
    `replaced`: the epochs that the deployment had before, and the rows that ended their sessions.
    `clock_row`: the row about clocks with the latest time; None if there is none.
    `unwritten`: ends that are acknowledged and wait until the journal answers again.
    `read_at`: when the last read began that succeeded; it never decreases. 0 before the first.
    `has_read`: whether a read has succeeded. `is_away`: the last read failed.
    `restored`: a random word while sessions may be left of users whom a restored database lacks; None in good times.
    `sentinels`: what the workers have agreed on about the primary, as this worker last read or committed it. By base and
    epoch it never decreases. `on_sentinels` is called with each read of it, and with the time when the read began.
    `restarts`: how often the tail has started over, because the database went back. It never decreases.
    `_own`: what this worker has committed, and when, until a read that began later has succeeded.
    `_rows`: what is held, in the order of reading.
    `_highest`: the highest number read. `_gaps`: skipped numbers below `_highest`, and when each was first missed.
    `_checked`: the last rows that came, which must still be there: number, nonce and when the row is due.
    `_does_differ`: the deployment has another lease or name than this worker, and a log line said so.
    `_is_suspect`: the next read starts over. `_quiet_until`: until then the journal counts as unavailable.
    """

    def __init__(self, journal: EndsJournal, clock: Clock, deployment: Deployment, *, lease_ms: int) -> None:
        self._journal = journal
        self._clock = clock
        self._deployment = deployment
        self._lease_ms = lease_ms
        self._interval = interval(lease_ms / 1000)
        self._patience = patience(lease_ms / 1000)
        self._checked: Checked = {}
        self._is_foreign = self._is_suspect = self._does_differ = False
        self._quiet_until = 0.0
        self.restored: str | None = None
        self.restarts = 0
        self._rows: deque[Row] = deque()
        self._own: deque[tuple[float, Row]] = deque()
        self._gaps: dict[int, float] = {}
        self._highest = 0
        self._listeners: list[Listener] = []
        # When `sentinels` had certainly been committed. Reads that began earlier may show an older state.
        self._sentinels_at = 0.0
        self.sentinels = SentinelRow()
        self.on_sentinels: RowListener | None = None
        self._reading: asyncio.Task[None] | None = None
        self._began_at = 0.0
        self.unwritten: dict[SessionRef, Row] = {}
        self.ended: dict[SessionRef, Row] = {}
        self.generations: OrderedDict[str, Row] = OrderedDict()
        self.replaced: dict[str, Row] = {}
        self.clock_row: Row | None = None
        self.floor = 0
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
        return self._highest

    @property
    def contiguous(self) -> int:
        """Every row numbered up to this has been read, or never existed."""
        return min(self._gaps) - 1 if self._gaps else self._highest

    @property
    def age(self) -> float:
        """Seconds since the last read began that succeeded."""
        return time.monotonic() - self.read_at

    @property
    def not_before_ms(self) -> int:
        """A value that was sealed earlier proves nothing by itself: a clock was set back, or its end may have been pruned."""
        return 0 if self.clock_row is None else self.clock_row.ended_at

    def reason(self, ref: SessionRef, carried: Current) -> str | None:
        """Why this session, with this generation and epoch, has ended, as far as the tail knows."""
        if carried.epoch in self.replaced:
            return EVERYBODY
        row = self.ended.get(ref) or self.unwritten.get(ref)
        if row is not None:
            return row.reason
        row = self.generations.get(ref.user)
        if row is not None and row.ends(ref, carried):
            return row.reason
        return None

    def last_until(self, seq: int) -> Row | None:
        """Of the rows up to this number the one that was read last; None if it is not held."""
        if seq <= self.floor:
            return None
        return next((row for row in reversed(self._rows) if row.seq <= seq), None)

    def after(self, seq: int) -> list[Row]:
        """Rows numbered higher than `seq`, which must be the floor or above it."""
        return [row for row in self._rows if row.seq > seq]

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
                self._began_at = time.monotonic()
                self._reading = asyncio.create_task(self._read(self._began_at), name="stateroom journal read")
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

    async def _start_over(self) -> None:
        """Commit again the rows that the restored database lacks, and forget everything."""
        own = [row for _, row in self._own]
        of_many = {*self.generations.values(), *self.replaced.values(), *([self.clock_row] if self.clock_row else ())}
        held = [*sorted({*self._rows, *of_many}, key=lambda row: row.seq), *own]
        count = await self._journal.recommit(held, self.sentinels)
        log.warning("database_restored", recommitted=count, fix=_RESTORED)
        self._rows.clear()
        self._gaps.clear()
        self._checked = {}
        self.ended.clear()
        self.generations.clear()
        self.replaced.clear()
        self._highest = self.floor = 0
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
                reading = await self._journal.read(self._highest, self._gaps, ROWS_AT_ONCE, checked=self.checked)
                row = self._check_whose(reading.deployment)
                self._check_agreed(row)
                is_older = row.sentinels.is_before(self.sentinels) and began_at >= self._sentinels_at
                if is_older or self._is_suspect or row.epoch in self.replaced or self.went_back(self._checked, reading.nonces):
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
        row = await self._journal.agree(lease_ms=self._lease_ms, name=self._deployment.name)
        self._check_agreed(self._check_whose(row))
        newest = await self._journal.newest(ROWS_AT_START)
        await self._read_ends_of_many()
        self._begin(newest)

    def _check_whose(self, row: DeploymentRow | None) -> DeploymentRow:
        """Raises `DatabaseUnavailable` if this is not our deployment's journal."""
        own, found = self._deployment.id, None if row is None else row.id
        if row is not None and own is None:  # neither store had answered before
            self._deployment.id = own = row.id
        if row is not None and found == own:
            self._is_foreign = False
            return row
        if not self._is_foreign:
            self._is_foreign = True
            log.error("foreign_database", ours=own, found=found, fix="check that DATABASE_URL leads to this deployment's database")
        raise DatabaseUnavailable("the user database is another deployment's")

    def _check_agreed(self, row: DeploymentRow) -> None:
        """Compare lease and name. A worker may have started without the journal, or may run while a command changes them.

        Raises `DatabaseUnavailable`, and logs it once.
        """
        has_lease, has_name = row.lease_ms == self._lease_ms, row.name == self._deployment.name
        did_differ, self._does_differ = self._does_differ, not (has_lease and has_name)
        if not has_lease:
            if not did_differ:
                fix = "set the same JOURNAL_LEASE for every worker, and restart this worker"
                log.error("lease_differs", ours_ms=self._lease_ms, deployment_ms=row.lease_ms, fix=fix)
            raise DatabaseUnavailable("the deployment has another lease")
        if not has_name:
            if not did_differ:
                fix = "set the same DEPLOYMENT for every worker, and restart this worker"
                log.error("deployment_differs", ours=self._deployment.name, deployment=row.name, fix=fix)
            raise DatabaseUnavailable("the deployment has another name")

    @property
    def checked(self) -> Checked:
        """The last rows that were read. They must still exist."""
        return self._checked

    def went_back(self, checked: Checked, nonces: Mapping[int, str | None]) -> bool:
        """Whether rows are missing that existed before. Rows that are due may have been pruned, but never the newest.

        `checked`: as it was when the query was sent. `nonces`: by number, for the rows that exist now.
        """
        newest = max(checked, default=0)
        now = self._clock.now_ms()
        for seq, (nonce, due_at) in checked.items():
            if seq in nonces:
                if nonces[seq] != nonce:
                    return True
            elif seq == newest or due_at > now:
                return True
        return False

    def forget_due(self, due_at: int) -> None:
        """Drop the rows that can end no living session any more: they were due at this time. The oldest come first."""
        while self.generations and next(iter(self.generations.values())).expires_at < due_at:
            self.generations.popitem(last=False)

    def _has_read(self, own: Row) -> bool:
        """Whether a read has brought a row that this worker committed, or a row with the same effect."""
        if own.epoch is not None:
            return own.epoch in self.replaced
        if own.handle is not None:
            return SessionRef(own.user, own.handle) in self.ended
        raised = self.generations.get(own.user)
        return raised is not None and (raised.generation or 0) >= (own.generation or 0)

    def _begin(self, rows: Sequence[Row]) -> None:
        if rows:
            self.floor = rows[0].seq - 1 if len(rows) == ROWS_AT_START else 0
            self._highest = max(0, rows[0].seq - 1 - GAPS_LOOKED_FOR)
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
        now = time.monotonic()
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
            self._checked = {row.seq: (row.nonce, row.expires_at) for row in new[-LAST_CHECKED:]}
            for listener in self._listeners:
                listener(new)

    def _keep(self, row: Row) -> None:
        self._rows.append(row)
        if row.handle is not None:
            self.ended.setdefault(SessionRef(row.user, row.handle), row)
        else:
            self._keep_end_of_many(row)
        while len(self._rows) > ROWS_KEPT:
            self._drop(self._rows.popleft())

    def _drop(self, row: Row) -> None:
        self.floor = max(self.floor, row.seq)
        if row.handle is not None and self.ended.get(SessionRef(row.user, row.handle)) is row:
            del self.ended[SessionRef(row.user, row.handle)]

    def _keep_end_of_many(self, row: Row) -> None:
        if row.epoch is not None:
            self.replaced[row.epoch] = row
        if row.reason == CLOCK and row.ended_at > self.not_before_ms:
            self.clock_row = row
        if row.generation is None:
            return
        known = self.generations.get(row.user)
        if known is None or (known.generation or 0) < (row.generation or 0):
            self.generations[row.user] = row
            self.generations.move_to_end(row.user)


def _heard(reading: asyncio.Task[None]) -> None:
    """Take the error out of the task. Every request that waited has got it."""
    if not reading.cancelled():
        reading.exception()
