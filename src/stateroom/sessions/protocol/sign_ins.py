"""Signing in: a session of the user is created, and the browser's former one ends.

The order of the steps is the protocol's. A sign-in stores the new session, then ends the old one, then copies what other
requests wrote meanwhile. The two sessions may be on different servers, so this cannot be one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import SessionEnded, StateroomError, StoreUnavailable, Unavailable
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
    from ..store.results import Ended
    from ..store.session_store import SessionStore
    from .ends import Ends
    from .trust import Trust


class SignIns:
    """Signs users in, and creates visitors' sessions."""

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
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._journal = journal
        self._deployment = deployment
        self._trust = trust
        self._ends = ends
        self._clock = clock
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
            await self._ends.withdraw(new)
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


def _check_max_age(max_age: object) -> None:
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        raise TypeError(
            f"max_age must be a number of seconds, not {type(max_age).__name__}; for a timedelta give its total_seconds()"
        )
    if not max_age >= 1:
        raise ValueError("max_age must be at least 1 second")
