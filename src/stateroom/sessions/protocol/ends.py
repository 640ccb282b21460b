"""Ending sessions so that nothing stores them again.

The journal's row is committed first, then the session is deleted from the store. If the store is settled and confirms
the deletion, every worker sees that. Otherwise the end is acknowledged one lease after the commit: by then every worker
has seen the row or looks the session up. If workers keep copies (`SESSION_CACHE_MAX_AGE`), they all know of a deletion
`KNOWN_SECONDS` later, and the end is acknowledged then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ...backend.near_cache import KNOWN_SECONDS
from ...errors import DatabaseUnavailable, StoreUnavailable
from ...logs import get_logger
from ..model.fields import GENERATION
from ..model.identity import SessionRef
from ..model.rows import EVERYBODY, TO_THE_LAST, EndRow, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...backend.client import RedisClient
    from ...backend.standing import Glimpse
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from ..journal.interface import EndsJournal
    from ..journal.tail import Tail
    from ..model.clock import Clock
    from ..model.deployment import Current
    from ..model.rows import InTransaction
    from ..store.results import Ended
    from ..store.session_store import SessionStore
    from .epochs import Epochs
    from .lease import Lease
    from .trust import Trust

log = get_logger(__name__)

TOMBSTONE_MARGIN_MS = 60_000
"""How much longer than `DEGRADED_MAX_AGE` a tombstone is kept, because clocks differ. Older credentials restore nothing."""

SUCCESSORS = 10_000
"""How many rotations of one session are followed: one in four minutes for a month. After more, all of the user's sessions end."""

COUNT_SECONDS = 1.0
"""How long "everybody out" waits for the number of sessions, which it only reports."""


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
        trust: Trust,
        clock: Clock,
        lease: Lease,
        epochs: Epochs,
    ) -> None:
        self._epochs = epochs
        self._metrics = metrics
        self._client = client
        self._store = store
        self._journal = journal
        self._tail = tail
        self._trust = trust
        self._clock = clock
        self._lease = lease
        self._longest_ms = settings.longest_session_ms
        self._replicas = settings.redis_write_replicas
        self._is_journal_required = settings.journal_required
        self._tombstone_ms = 1000 * settings.degraded_max_age + TOMBSTONE_MARGIN_MS
        self._copied_seconds = KNOWN_SECONDS if settings.session_cache_max_age else 0.0

    async def end(self, ref: SessionRef, reason: str, *, with_fields: bool = False) -> Ended | None:
        """End a session: commit the row, delete, wait until every worker knows. Returns what was deleted, if anything was.

        `with_fields`: return the session's last fields in `Ended.fields`.
        Raises `DatabaseUnavailable`, and `StoreUnavailable` if neither store could take the end.
        """
        row = self._row(ref, reason)
        try:
            committed_at = await self._commit([row])
        except DatabaseUnavailable:
            return await self._end_without_journal(ref, row, with_fields=with_fields)
        ended, is_confirmed = await self._delete(ref, with_fields=with_fields)
        if ref.user:  # an anonymous visitor's session gives no rights that could be used further
            # The session may have got a new id meanwhile. Then the end is meant for the new one too. Only the journal knows.
            # A sign-in replaces this session only, and not the new session that a parallel request of the client has.
            is_meant = reason != "rotated" and (ended is None or not is_confirmed)
            successor = await self._end_successors(ref, reason) if is_meant else None
            if not is_confirmed:
                await self._lease.passed_since(committed_at)
            await self.outlast_copies()
            ended = successor or ended
        self.count(reason, ended)
        return ended

    async def end_what_became_of(self, ref: SessionRef, reason: str) -> None:
        """End a session that got a new id; `ref` is its old one. Raises as `end`; `DatabaseUnavailable` without the journal."""
        self._check_journal()
        ended = await self._end_successors(ref, reason)
        await self.outlast_copies()
        self.count(reason, ended)

    async def _end_successors(self, ref: SessionRef, reason: str) -> Ended | None:
        """End the successors of a session that got a new id. Returns a deleted one, if any. It counts none.

        A successor may be rotated until its own end is committed, so the journal is asked until there is no other.
        Raises `DatabaseUnavailable`, and `StoreUnavailable` if neither store could take the end.
        """
        ended: Ended | None = None
        while (found := await self._journal.successors(ref, SUCCESSORS)).not_ended or not found.is_complete:
            if not found.is_complete:
                await self._end_all_of(ref.user, reason)
                break
            committed_at = await self._commit([self._row(each, reason) for each in found.not_ended])
            deletions = [await self._delete(each) for each in found.not_ended]
            if not all(is_confirmed for _, is_confirmed in deletions):
                await self._lease.passed_since(committed_at)
            ended = next((each for each, _ in deletions if each is not None), ended)
        return ended

    async def commit_rotation(
        self,
        old: SessionRef,
        new: SessionRef,
        *,
        carried: Current,
        revokes: str | None,
        in_transaction: InTransaction | None,
    ) -> float | None:
        """Commit the end of a session that gets a new id. Returns the time of the commit on the monotonic clock.

        If the session has ended already, this commits nothing and returns None. It deletes nothing in Redis.
        `carried`: the old session's generation and epoch. `revokes`: the reason for which the user's other sessions end too,
        by a generation one higher. `in_transaction` runs in the same transaction. Raises `DatabaseUnavailable`.
        """
        row = replace(self._row(old, "rotated"), successor=new.handle)
        self._check_journal()
        is_first = await self._journal.rotate(row, carried, revokes=revokes, in_transaction=in_transaction)
        if not is_first:
            return None
        self._remember(row)
        if revokes is not None:
            self._remember_raised(old.user, carried.generation + 1, revokes)
        return time.monotonic()

    async def raise_generation(self, user: str, reason: str, in_transaction: InTransaction | None = None) -> tuple[int, float]:
        """Commit the end of all sessions that a user has now. Returns the next sessions' generation, and the time of the commit."""
        seen, now = await self._newest_generation(user), self._clock.now_ms()
        generation = await self._journal.raise_generation(user, reason, seen=seen, ended_at=now, in_transaction=in_transaction)
        self._remember_raised(user, generation, reason)
        return generation, time.monotonic()

    async def delete_older(self, user: str, generation: int | None, reason: str, *, spare: str, committed_at: float) -> int | None:
        """Delete a user's older sessions, whose end is committed already. Returns how many, None if that is unknown."""
        glimpse = self._client.standing(self._store.user_key(user)).glimpse
        is_settled = self._trust.is_settled(glimpse)
        try:
            ended = await self._store.delete_older(user, generation, spare=spare)
        except StoreUnavailable:
            if not self._trust.has_journal:
                raise
            await self._lease.passed_since(committed_at)
            return None
        for each in ended:
            self.count(reason, each)
        if not self._trust.has_journal:  # `NoJournal` remembers the reasons
            await self._journal.record([self._row(SessionRef(user, each.handle), reason) for each in ended])
        if not (is_settled and self.is_seen_by_all(glimpse)):
            await self._lease.passed_since(committed_at)
        await self.outlast_copies()
        return len(ended)

    async def everybody(self) -> int | None:
        """End the sessions of all users of the deployment. Returns how many there were; None if that is unknown.

        One row is committed, and the deployment has another epoch. Every worker knows that within a lease: by its tail, or
        by the store if the worker has lost the journal. The replay deletes the sessions. Raises `DatabaseUnavailable`.
        """
        count: int | None = None
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(COUNT_SECONDS):
                count = await self._store.count_active()
        change = await self._journal.change_epoch(EVERYBODY, ended_at=self._clock.now_ms())
        committed_at = time.monotonic()
        now = self._clock.now_ms()
        self._tail.remember(Row(0, "", None, None, EVERYBODY, now, TO_THE_LAST, change.after, epoch=change.before))
        await self._epochs.publish(change.after)
        await self._lease.passed_since(committed_at)
        await self.outlast_copies()
        return count

    async def withdraw(self, ref: SessionRef) -> None:
        """Delete a session whose token no client will get."""
        try:
            await self._store.delete_without_waiting(ref)
        except StoreUnavailable:
            log.warning("session_left_behind", session=ref.handle)

    async def flush(self) -> None:
        """Commit the ends that were acknowledged while the journal was unavailable. Raises `DatabaseUnavailable`."""
        waiting = dict(self._tail.unwritten)
        if waiting:
            rows = [EndRow(*ref, row.reason, row.ended_at) for ref, row in waiting.items()]
            await self._journal.record(rows)
            await self._tail.catch_up()
            for ref, row in waiting.items():
                if ref.user:  # a worker that had the journal may have given it a new id
                    self.count(row.reason, await self._end_successors(ref, row.reason))
                self._tail.unwritten.pop(ref, None)
            self._metrics.revocations_pending.set(len(self._tail.unwritten))
            log.info("revocations_written", count=len(waiting))

    async def outlast_copies(self) -> None:
        """Return when no worker uses a copy of a session that has just been deleted."""
        if self._copied_seconds:
            await asyncio.sleep(self._copied_seconds)

    def count(self, reason: str, ended: Ended | None) -> None:
        """Count an end, if there was one."""
        if ended is not None:
            self._metrics.sessions_ended[reason].inc()
            self._metrics.session_lifetime.observe(ended.lifetime_seconds)

    async def _commit(self, rows: Sequence[EndRow]) -> float:
        self._check_journal()
        await self._journal.record(rows)
        for row in rows:
            self._remember(row)
        return time.monotonic()

    def _remember(self, row: EndRow) -> None:
        until = row.ended_at + self._longest_ms
        self._tail.remember(Row(0, row.user, row.handle, None, row.reason, row.ended_at, until, row.successor))

    def _remember_raised(self, user: str, generation: int, reason: str) -> None:
        now = self._clock.now_ms()
        self._tail.remember(Row(0, user, None, generation, reason, now, now + self._longest_ms))

    async def _delete(self, ref: SessionRef, *, with_fields: bool = False) -> tuple[Ended | None, bool]:
        """Delete from the store. Returns what was there, and whether every other worker must see that it is gone."""
        settled = self.settled_glimpse(ref)
        try:
            ended, _ = await self._store.delete(ref, with_fields=with_fields)
        except StoreUnavailable:
            if not self._trust.has_journal:  # nothing else would keep the end
                raise
            return None, False
        return ended, settled is not None and self.is_seen_by_all(settled)

    async def _end_without_journal(self, ref: SessionRef, row: EndRow, *, with_fields: bool) -> Ended | None:
        """End a session while the journal is unavailable: a settled store must have deleted it, and enough replicas too."""
        glimpse = self._client.standing(self._store.key(ref)).glimpse
        if self._is_journal_required or not self._trust.is_settled(glimpse):
            raise DatabaseUnavailable("the journal does not answer")
        # Another worker may reach the journal sooner than this worker. Until then the tombstone tells it of the end.
        ended, reached = await self._store.delete(ref, tombstone_ms=self._tombstone_ms, reason=row.reason, with_fields=with_fields)
        if reached < self._replicas or not self._is_still_settled(glimpse):
            raise DatabaseUnavailable("the journal does not answer, and too few replicas have the end")
        if ended is None:
            raise DatabaseUnavailable("the journal does not answer, so that the session's new id cannot be known")
        waiting = Row(0, row.user, row.handle, None, row.reason, row.ended_at, TO_THE_LAST)
        self._tail.acknowledge(ref, waiting)
        self._metrics.revocations_pending.set(len(self._tail.unwritten))
        log.warning("revocation_waits_for_journal", session=ref.handle, fix="check that the user database runs and can be reached")
        await self.outlast_copies()
        self.count(row.reason, ended)
        return ended

    def settled_glimpse(self, ref: SessionRef) -> Glimpse | None:
        """The store of this session, if it is settled now."""
        glimpse = self._client.standing(self._store.key(ref)).glimpse
        return glimpse if self._trust.is_settled(glimpse) else None

    def is_seen_by_all(self, glimpse: Glimpse) -> bool:
        """Whether every worker sees what was deleted since the glimpse of a settled store.

        The tail must be fresh. An old one would not show that the workers have agreed on another primary.
        """
        is_fresh = not self._trust.has_journal or self._tail.age < self._lease.seconds
        return is_fresh and self._is_still_settled(glimpse)

    def _is_still_settled(self, glimpse: Glimpse) -> bool:
        """Whether the store was settled, over one connection, from the glimpse until now."""
        return glimpse.still_holds() and self._trust.is_settled(glimpse)

    async def _end_all_of(self, user: str, reason: str) -> None:
        """End every session of a user, because one session has more than `SUCCESSORS` successors."""
        log.warning("rotated_too_often", user=user, limit=SUCCESSORS)
        generation, committed_at = await self.raise_generation(user, reason)
        await self.delete_older(user, generation, reason, spare="", committed_at=committed_at)

    async def _newest_generation(self, user: str) -> int:
        """The highest generation of the user in the tail and in the store."""
        if not self._trust.has_journal:
            return 0
        row = self._tail.generations.get(user)
        known = [row.generation or 0 if row is not None else 0]
        with contextlib.suppress(StoreUnavailable):
            known += [int(fields.get(GENERATION, 0)) for _, fields in await self._store.of_user(user)]
        return max(known)

    def _row(self, ref: SessionRef, reason: str) -> EndRow:
        return EndRow(*ref, reason, self._clock.now_ms())

    def _check_journal(self) -> None:
        """Raises `DatabaseUnavailable` if the journal is known not to answer."""
        if self._tail.is_away:
            raise DatabaseUnavailable("the journal does not answer")
