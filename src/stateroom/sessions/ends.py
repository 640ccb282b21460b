"""Ending sessions so that nothing brings them back.

The row in the journal is committed first, then the session is deleted. Where the store is settled and says that it
has deleted, every worker sees that; otherwise the end is acknowledged one lease after the commit, by when every
worker has seen the row or will ask for it. Where workers keep copies (`SESSION_CACHE_MAX_AGE`), they all know of a
deletion a moment later, and it is acknowledged then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from ..backend.near_cache import KNOWN_SECONDS
from ..errors import DatabaseUnavailable, StoreUnavailable
from .keys import Address
from .rows import EndRow, Row
from .tail import LEASE_SECONDS

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .clock import StoreClock
    from .honour import Honour
    from .rows import Along, EndsJournal
    from .store import Ended, SessionStore
    from .tail import Tail

log = structlog.get_logger(__name__)

MARK_MARGIN_MS = 60_000
"""Over the age at which no cookie restores a session any more, for clocks that differ."""


class Ends:
    """The ends that one worker makes."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        client: RedisClient,
        store: SessionStore,
        journal: EndsJournal,
        tail: Tail,
        honour: Honour,
        clock: StoreClock,
    ) -> None:
        self._metrics = metrics
        self._client = client
        self._store = store
        self._journal = journal
        self._tail = tail
        self._honour = honour
        self._clock = clock
        self._replicas = settings.redis_write_replicas
        self._is_required = settings.journal_required
        self._mark_ms = 1000 * settings.degraded_max_age + MARK_MARGIN_MS
        self._copied_seconds = KNOWN_SECONDS if settings.session_cache_max_age else 0.0
        self._longest_ms = 1000 * max(settings.session_absolute_max_age, settings.session_remember_max_age)

    async def end(self, at: Address, reason: str, *, deadline: int = 0) -> Ended | None:
        """End a session: what it was, None where the store had none or could not be asked.

        `deadline`: its absolute end, where that is known; the row is kept until then.
        Raises `DatabaseUnavailable`, and `StoreUnavailable` where neither store could take it.
        """
        row = self._row(at, reason, deadline)
        try:
            committed_at = await self._record(row)
        except DatabaseUnavailable:
            return await self._end_without_journal(at, row)
        ended, is_confirmed = await self._deleted(at)
        if at.user and (ended is None or not is_confirmed):
            # Perhaps it was given a new id a moment ago: who ends it means what it is now.
            ends = [await self.end(each, reason, deadline=deadline) for each in await self._successors(at)]
            if ends:
                return next((each for each in ends if each is not None), None)
        if at.user:  # an anonymous visitor's session gives no rights that somebody could go on using
            if not is_confirmed:
                await lease_from(committed_at)
            await self.outlast_copies()
        self.note(reason, ended)
        return ended

    async def record_rotation(
        self, old: Address, new: Address, *, deadline: int, generation: int, revokes: str | None, along: Along | None
    ) -> float | None:
        """Commit the end of a session of this generation, that becomes another; when that was, on the monotonic clock.

        With the reason `revokes`, the end of the user's other sessions too: their next ones' generation is one higher.
        `along` is done in the same transaction.
        None, and nothing is committed, where this one has ended already.
        Deletes nothing. Raises `DatabaseUnavailable`.
        """
        row = replace(self._row(old, "rotated", deadline), successor=new.handle)
        self._check_journal()
        expires_at = row.ended_at + self._longest_ms
        is_first = await self._journal.rotate(row, generation, revokes=revokes, expires_at=expires_at, along=along)
        return time.monotonic() if is_first else None

    async def raise_generation(self, user: str, reason: str, along: Along | None = None) -> tuple[int, float]:
        """Commit the end of all sessions that a user has now: their next ones' generation, and when that was."""
        seen, now = await self._newest_generation(user), self._clock.now_ms()
        until = now + self._longest_ms
        generation = await self._journal.raise_generation(user, reason, seen=seen, ended_at=now, expires_at=until, along=along)
        return generation, time.monotonic()

    async def end_older(self, user: str, generation: int | None, reason: str, *, spare: str, committed_at: float) -> int | None:
        """Delete a user's older sessions, whose end is committed: how many, None where that is not known."""
        standing = self._client.standing(self._store.user_key(user))
        serial = standing.serial
        is_settled = self._honour.is_settled(standing, serial)
        try:
            ended = await self._store.end_older(user, generation, spare=spare)
        except StoreUnavailable:
            if not self._honour.is_kept:
                raise
            await lease_from(committed_at)
            return None
        for each in ended:
            self.note(reason, each)
        if not self._honour.is_kept:
            await self._journal.record([self._row(Address(user, each.handle), reason, 0) for each in ended])
        if not (is_settled and self._honour.is_settled(standing, serial)):
            await lease_from(committed_at)
        await self.outlast_copies()
        return len(ended)

    async def flush(self) -> None:
        """Write down the ends that were acknowledged while the journal was away. Raises `DatabaseUnavailable`."""
        waiting = dict(self._tail.unwritten)
        if waiting:
            rows = [EndRow(*at, row.reason, row.ended_at, row.expires_at) for at, row in waiting.items()]
            await self._journal.record(rows)
            await self._tail.catch_up()
            for at in waiting:
                self._tail.unwritten.pop(at, None)
            self._metrics.revocations_pending.set(len(self._tail.unwritten))
            log.info("revocations_written", count=len(waiting))

    async def outlast_copies(self) -> None:
        """Return when no worker uses a copy of what has just been deleted."""
        if self._copied_seconds:
            await asyncio.sleep(self._copied_seconds)

    def note(self, reason: str, ended: Ended | None) -> None:
        """Count an end that was one."""
        if ended is not None:
            self._metrics.sessions_ended[reason].inc()
            self._metrics.session_lifetime.observe(ended.lifetime_seconds)

    async def _successors(self, at: Address) -> list[Address]:
        """What rotations have made, or tried to make, of a session. Raises `DatabaseUnavailable`."""
        rows, _ = await self._journal.covering([at])
        return [Address(at.user, row.successor) for row in rows if row.successor is not None]

    async def _newest_generation(self, user: str) -> int:
        """As the tail and the store have it."""
        if not self._honour.is_kept:
            return 0
        row = self._tail.generations.get(user)
        known = [row.generation or 0 if row is not None else 0]
        with contextlib.suppress(StoreUnavailable):
            known += [int(fields[b"g"]) for _, fields in await self._store.of_user(user)]
        return max(known)

    def _row(self, at: Address, reason: str, deadline: int) -> EndRow:
        now = self._clock.now_ms()
        return EndRow(at.user, at.handle, reason, now, max(deadline, now) if deadline else now + self._longest_ms)

    async def _record(self, row: EndRow) -> float:
        self._check_journal()
        await self._journal.record([row])
        return time.monotonic()

    def _check_journal(self) -> None:
        """Whether it is worth asking. Raises `DatabaseUnavailable`."""
        if self._tail.is_away:
            raise DatabaseUnavailable("the journal does not answer")

    async def _deleted(self, at: Address) -> tuple[Ended | None, bool]:
        """Delete in the store: what was there, and whether every other worker must see that it is gone."""
        standing = self._client.standing(self._store.key(at))
        serial = standing.serial
        is_settled = self._honour.is_settled(standing, serial)
        try:
            ended, _ = await self._store.end(at)
        except StoreUnavailable:
            if not self._honour.is_kept:  # nothing else would carry it
                raise
            return None, False
        return ended, is_settled and self._honour.is_settled(standing, serial)

    async def _end_without_journal(self, at: Address, row: EndRow) -> Ended | None:
        """A settled store that has deleted, with the replicas it should have, will do until the journal is back."""
        standing = self._client.standing(self._store.key(at))
        serial = standing.serial
        if self._is_required or not self._honour.is_settled(standing, serial):
            raise DatabaseUnavailable("the journal does not answer")
        # Another worker may reach the journal before we do: the store tells it of the end meanwhile.
        ended, reached = await self._store.end(at, mark_ms=self._mark_ms, reason=row.reason)
        if reached < self._replicas or not self._honour.is_settled(standing, serial):
            raise DatabaseUnavailable("the journal does not answer, and too few replicas have the end")
        if ended is None:
            raise DatabaseUnavailable("the journal does not answer: what became of the session cannot be known")
        waiting = Row(0, row.user, row.handle, None, row.reason, row.ended_at, row.expires_at)
        self._tail.acknowledge(row.user, row.handle, waiting)
        self._metrics.revocations_pending.set(len(self._tail.unwritten))
        log.warning("revocation_waits_for_journal", session=at.handle)
        await self.outlast_copies()
        self.note(row.reason, ended)
        return ended


async def lease_from(moment: float) -> None:
    """Return one lease after a commit: what every worker knows then is no event of ours."""
    await asyncio.sleep(max(0.0, moment + LEASE_SECONDS - time.monotonic()))
