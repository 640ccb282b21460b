"""Giving a session a new id: a rotation.

The order of the steps is the protocol's. A rotation first copies the session, then commits the old one's end, then
claims the copy and deletes the old one. A time-out before the commit leaves the old session good. After the commit the
new one is good, if necessary by its sealed value alone. The two sessions may be on different servers, so this cannot be
one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from ...backend.budget import seconds_left, within_budget
from ...errors import SessionEnded, StoreUnavailable
from ..model.identity import SessionRef, handle_of
from ..sealing.key_ring import fresh_token

if TYPE_CHECKING:
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from ..journal.interface import EndsJournal
    from ..model.clock import Clock
    from ..model.record import SessionRecord
    from ..model.rows import InTransaction
    from ..store.session_store import SessionStore
    from .ends import Ends
    from .lease import Lease
    from .load import Loader
    from .trust import Trust

CLAIM_MARGIN_SECONDS = 0.02
"""How long after a claim's deadline the old session may be deleted. The deadline that Redis compares is earlier by the
uncertainty of its clock (redis_clock.py). So the margin covers rounding alone."""


class Rotations:
    """Gives users' sessions a new id."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        store: SessionStore,
        journal: EndsJournal,
        trust: Trust,
        ends: Ends,
        loader: Loader,
        clock: Clock,
        lease: Lease,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._journal = journal
        self._trust = trust
        self._ends = ends
        self._loader = loader
        self._clock = clock
        self._lease = lease

    async def rotate(
        self,
        record: SessionRecord,
        *,
        signs_in: bool = False,
        revokes: str | None = None,
        in_transaction: InTransaction | None = None,
    ) -> float:
        """Give a stored session of a user a new id; with a reason `revokes`, commit the end of the user's other sessions too.

        Returns when that was committed, on the monotonic clock.
        Raises `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`.
        """
        old = record.ref
        generation = record.generation if revokes is None else record.generation + 1
        token = fresh_token()
        new = SessionRef(old.user, handle_of(token))
        auth_ms, fault = await self._prepare(record, new, generation=generation, signs_in=signs_in)
        try:
            committed_at = await self._ends.commit_rotation(
                old,
                new,
                carried=record.carried,
                revokes=revokes,
                in_transaction=in_transaction,
            )
        except StoreUnavailable:
            # Without a journal. The tombstone may be written: without the copy it shows that this rotation has failed.
            await self._ends.withdraw(new)
            raise
        if committed_at is None:
            await self._ends.withdraw(new)
            raise await self._loader.ended(record)
        # The old session's end is committed: the response carries the new value, also with an error from here on.
        carried = record.carried
        record.set_rotated(new, token, generation=generation, auth_ms=auth_ms)
        settled, claimed_until = self._ends.settled_glimpse(old), 0.0
        try:
            if fault is None:
                claimed_until = time.monotonic() + seconds_left(self._settings.redis_read_timeout)
                fault = await self._claim(record, old, new, until=claimed_until)
            is_seen_by_all = fault is None and settled is not None and self._ends.is_seen_by_all(settled)
            if fault is not None:
                now = self._clock.now_ms()
                record.set_renewed(now, min(now + record.idle_ms, record.deadline_ms))
                record.degrade(fault)
            await self._check_not_ended(old, new)
            if fault is not None:
                await self._check_no_tombstone(old, new)
        except SessionEnded as end:
            record.forget()
            record.has_gone(old, carried, end.reason)
            raise
        if not is_seen_by_all:
            await self._lease.passed_since(committed_at)
        if fault is not None:
            # A claim that is still under way finds no old session then, and would delete the new one.
            await asyncio.sleep(max(0.0, claimed_until + CLAIM_MARGIN_SECONDS - time.monotonic()))
            with contextlib.suppress(StoreUnavailable):  # a full store still deletes
                await self._store.delete_without_waiting(old)
        await self._ends.outlast_copies()
        self._metrics.sessions_ended["rotated"].inc()
        return committed_at

    async def _prepare(
        self, record: SessionRecord, new: SessionRef, *, generation: int, signs_in: bool
    ) -> tuple[int, StoreUnavailable | None]:
        """Copy the session. Returns the copy's time of sign-in, and the fault if the store could not copy."""
        auth_ms = self._clock.now_ms() if signs_in else record.auth_ms
        try:
            prepared = await self._store.prepare_rotation(record.ref, new, generation=generation, signs_in=signs_in)
            if prepared is not None:
                return prepared, None
            raise await self._loader.ended(record)
        except StoreUnavailable as fault:  # unavailable, or it has lost the session
            if not self._trust.carries_degraded:
                raise
            return auth_ms, fault

    async def _claim(self, record: SessionRecord, old: SessionRef, new: SessionRef, *, until: float) -> StoreUnavailable | None:
        """Make the rotation's copy the session. Returns the fault if the store could not. Raises `SessionEnded`."""
        try:
            renewed = await self._store.claim_rotation(old, new, until=until)
            if renewed is None:
                await self._check_not_ended(old, new, is_unclaimed=True)
                raise StoreUnavailable("the session's new id was not claimed in time", kind="timeout")  # noqa: TRY301
        except StoreUnavailable as fault:
            if not self._trust.carries_degraded:
                raise
            return fault
        record.set_renewed(renewed.renewed_at, renewed.expires_at)
        return None

    async def _check_not_ended(self, old: SessionRef, new: SessionRef, *, is_unclaimed: bool = False) -> None:
        """Raises `SessionEnded` if the old session ended by more than this rotation; the copy is withdrawn then.

        A sign-out may have come between. Of two rotations the first row counts. If this rotation's copy could not be claimed
        (`is_unclaimed`), another rotation has claimed its own.
        """
        found = await self._journal.look_up([old, new])
        for number, row in enumerate(found.rows):
            is_another = row.successor != new.handle and (row.reason != "rotated" or number == 0 or is_unclaimed)
            if is_another or row.handle == new.handle:
                await self._ends.withdraw(new)
                raise SessionEnded(row.reason)

    async def _check_no_tombstone(self, old: SessionRef, new: SessionRef) -> None:
        """Raises `SessionEnded` if another worker, which has lost the journal, has ended the old session meanwhile.

        While the store does not answer this cannot be known. The other worker ends the new session when it commits the end.
        """
        if not self._trust.has_journal:  # then every end leaves a tombstone, this rotation too
            return
        with contextlib.suppress(StoreUnavailable):
            reason = await within_budget(self._store.tombstone(old))
            if reason is not None:
                await self._ends.withdraw(new)
                raise SessionEnded(reason)
