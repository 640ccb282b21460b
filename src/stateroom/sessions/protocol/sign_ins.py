"""Signing in, and giving a session a new id.

The order of the steps is the protocol's. A rotation first copies the session, then commits the old one's end, then
claims the copy and deletes the old one. A time-out before the commit leaves the old session good. After the commit the
new one is good, if necessary by its sealed value alone. A sign-in stores the new session, then ends the old one, then
copies what other requests wrote meanwhile. The two sessions may be on different servers, so this cannot be one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...backend.budget import seconds_left, within_budget
from ...errors import SessionEnded, StateroomError, StoreUnavailable, Unavailable
from ...logs import get_logger
from ..model.client_notes import pack
from ..model.deployment import Current
from ..model.fields import epoch_field, sign_in_fields
from ..model.identity import SessionRef, UserId, handle_of, user_key
from ..model.rows import EVERYBODY
from ..sealing.key_ring import fresh_token
from ..store.results import Created
from .late_writes import LateWrites

if TYPE_CHECKING:
    from ...backend.client import Argument
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from ..journal.interface import EndsJournal
    from ..model.clock import Clock
    from ..model.deployment import Deployment
    from ..model.record import SessionRecord
    from ..model.rows import InTransaction
    from ..store.results import Ended
    from ..store.session_store import SessionStore
    from .ends import Ends
    from .lease import Lease
    from .load import Loader
    from .trust import Trust

log = get_logger(__name__)

CLAIM_MARGIN_SECONDS = 0.02
"""How long after a claim's deadline the old session may be deleted. The deadline that Redis compares is earlier by the
uncertainty of its clock (redis_clock.py). So the margin covers rounding alone."""


class SignIns:
    """Signs users in, and gives existing sessions a new id."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        store: SessionStore,
        journal: EndsJournal,
        deployment: Deployment,
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
        self._deployment = deployment
        self._trust = trust
        self._ends = ends
        self._loader = loader
        self._clock = clock
        self._lease = lease
        self._late_writes = LateWrites(store, settings.session_max_bytes)

    async def sign_in(
        self,
        record: SessionRecord,
        user_id: UserId | None,
        *,
        client_notes: Mapping[str, str],
        remember: bool = False,
        max_age: float | None = None,
        generation: int | None = None,
        epoch: str | None = None,
        degraded: bool = True,
    ) -> None:
        """Make `record` a session of this user, under a new id. `SessionManager.sign_in` says what the arguments mean."""
        if max_age is not None:
            _check_max_age(max_age)
        user, old, before = user_key(user_id), record.ending_ref, record.snapshot()
        if old is None and record.ended != "rotated":
            # It has ended already. If a later request brings its value, the response must say that the client has a newer one.
            old = record.gone
        carried = Current(0, self._deployment.epoch)
        if user:
            carried = await self._current(user, generation, epoch)
        try:
            copied = await self._take_along(record, user)
            own = record.delta()
            new, over_limit = await self.create(
                record,
                user_id,
                client_notes,
                remember=remember,
                max_age=max_age,
                carried=carried,
                degraded=degraded,
                replaces=old.handle if old is not None and old.user == user else "",
            )
            replaced = await self._replace(old, new, carried, with_fields=copied is not None)
        except StateroomError as error:  # the sign-in failed: the client keeps its value
            record.restore(before)
            if isinstance(error, SessionEnded) and user and record.ref.user == user:  # then this session has ended too
                record.end(error.reason)
            raise
        # From here on the old session has ended, and the new one must reach the client.
        if copied is not None and replaced is not None and not record.degraded:
            await self._late_writes.bring(record, copied, replaced.fields, own)
        for handle in over_limit:
            with contextlib.suppress(Unavailable):  # the next sign-in finds it over the limit again
                await self._ends.end(SessionRef(user, handle), "limit")

    async def rotate_visitors(self, record: SessionRecord) -> None:
        """Give a visitor's session a new id; its data stays. Raises as `rotate`."""
        reason: str | None = None
        if record.gone is not None:
            reason = record.ended or await self._trust.why_ended_by_journal(record.gone, record.gone_carried)
        elif record.token is not None and await self._store.load(record.ref) is None:
            reason = await self._trust.why_ended_by_journal(record.ref, record.carried)
            if reason is not None:
                record.end(reason)
        if reason is not None:
            raise SessionEnded(reason)
        await self.sign_in(record, None, client_notes={})

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
            await self._withdraw(new)
            raise
        if committed_at is None:
            await self._withdraw(new)
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

    async def create(
        self,
        record: SessionRecord,
        user_id: UserId | None,
        client_notes: Mapping[str, str],
        *,
        remember: bool,
        max_age: float | None = None,
        carried: Current | None = None,
        degraded: bool = True,
        replaces: str = "",
    ) -> tuple[SessionRef, tuple[str, ...]]:
        """Store the session under a new id. Returns the new reference, and the handles of the user's sessions over the limit.

        `replaces`: the handle of the user's session that ends when this one is stored.
        """
        self._deployment.known_id()  # without the id the session's value could not be sealed
        user = user_key(user_id)
        token = fresh_token()
        ref = SessionRef(user, handle_of(token))
        idle = lifetime = self._settings.session_remember_max_age
        if not remember:
            idle, lifetime = self._settings.session_max_age, self._settings.session_absolute_max_age
        if max_age is not None:
            lifetime = int(min(lifetime, max_age))
            idle = min(idle, lifetime)
        carried = carried or Current(0, self._deployment.epoch)
        delta = record.delta()
        fields: dict[str, Argument] = dict(record.all_data())
        if user:
            fields.update(sign_in_fields(carried))
            fields.update(pack(client_notes))
        else:
            fields.update(epoch_field(carried.epoch))
        fault: StoreUnavailable | None = None
        try:
            self._trust.check_store()
            created = await self._store.create(
                ref,
                idle_ms=idle * 1000,
                lifetime_ms=lifetime * 1000,
                max_per_user=self._settings.session_max_per_user,
                fields=fields,
                replaces=replaces,
            )
        except StoreUnavailable as error:
            # If lost sessions are stored again, the sealed value alone carries the session. Otherwise the sign-in fails.
            if not user or not degraded or not self._trust.carries_degraded:
                if error.kind == "connection":  # the reply may be lost, and nobody will get the token of what is stored
                    with contextlib.suppress(StoreUnavailable):
                        await self._store.delete_without_waiting(ref)
                raise
            fault = error
            now = self._clock.now_ms()
            created = Created(now, now + min(idle, lifetime) * 1000, ())
        record.accept(delta)
        record.user_id = user_id
        record.generation, record.epoch = carried
        record.is_persistent, record.ended = remember, None
        record.set_stored(
            ref,
            token,
            created_ms=created.created_at,
            expires_ms=created.expires_at,
            idle_ms=idle * 1000,
            lifetime_ms=lifetime * 1000,
        )
        record.recover()
        if fault is not None:
            record.degrade(fault)
        else:
            self._metrics.sessions_created.inc()
            record.evicted = len(created.over_limit)
        return ref, created.over_limit

    async def _current(self, user: str, generation: int | None, epoch: str | None) -> Current:
        """The generation and epoch of the new session: as the caller read them with the password's hash, or as they are now."""
        if generation is not None and epoch is not None:
            return Current(generation, epoch)
        now = await self._journal.current(user)
        return now if generation is None else Current(generation, now.epoch)

    async def _take_along(self, record: SessionRecord, user: str) -> Mapping[str, bytes] | None:
        """Keep in the record what the new session gets: a visitor's data, the same user's data, another user's flash messages.

        Returns the stored fields that the new session gets, None if it gets none.
        """
        old = record.ending_ref
        if old is not None and not record.is_stored:
            record.forget()
        elif record.ref.user and record.ref.user != user:
            flashes = record.drain_flashes()
            record.forget()
            for kind, message in flashes.items():
                record.add_flash(kind, message)
        elif old is not None:
            # Parallel requests may have written since it was loaded: the new session gets that too.
            if not record.degraded:
                with contextlib.suppress(StoreUnavailable):
                    record.refresh(await self._store.load(old) or {})
            return record.stored_data()
        return None

    async def _replace(self, old: SessionRef | None, new: SessionRef, carried: Current, *, with_fields: bool) -> Ended | None:
        """End the old session, now that the new one is stored. If that fails, delete the new one.

        Returns the deleted session, if there was one; `with_fields`: with its last fields.
        """
        try:
            if new.user:
                await self._check_current(new, carried)
            return None if old is None else await self._ends.end(old, "rotated", with_fields=with_fields)
        except (SessionEnded, Unavailable):
            await self._withdraw(new)
            raise

    async def _check_current(self, ref: SessionRef, carried: Current) -> None:
        """Raises `SessionEnded` if all of the user's sessions were ended before this one was stored."""
        read = self._trust.generation_read(ref.user)
        now = await self._journal.current(ref.user)
        if now.generation < read:
            raise self._trust.went_back()
        if now.generation > carried.generation:
            raise SessionEnded(await self._journal.reason(ref, carried.generation) or "revoked")
        if now.epoch != carried.epoch:
            raise SessionEnded(EVERYBODY)

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
                await self._withdraw(new)
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
                await self._withdraw(new)
                raise SessionEnded(reason)

    async def _withdraw(self, ref: SessionRef) -> None:
        """Delete a session whose token no client will get."""
        try:
            await self._store.delete_without_waiting(ref)
        except StoreUnavailable:
            log.warning("session_left_behind", session=ref.handle)


def _check_max_age(max_age: object) -> None:
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        raise TypeError(
            f"max_age must be a number of seconds, not {type(max_age).__name__}; for a timedelta give its total_seconds()"
        )
    if not max_age >= 1:
        raise ValueError("max_age must be at least 1 second")
