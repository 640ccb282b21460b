"""Signing in, and giving a session a new id.

The order of steps is the protocol's: a rotation first copies, then commits the old session's end, then claims the
copy and deletes the old one. A time-out before the commit leaves the old one good; after it the new one is, in its
cookie alone if need be.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from ..errors import SessionEnded, StoreUnavailable, Unavailable
from .cookie import Cookie
from .ends import lease_from
from .keys import Address, UserId, handle_of, user_key
from .notes import pack
from .store import Created

if TYPE_CHECKING:
    from ..backend.client import Argument
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .clock import StoreClock
    from .ends import Ends
    from .honour import Honour
    from .loading import Loading
    from .rows import Along, EndsJournal
    from .session import Session
    from .store import SessionStore

log = structlog.get_logger(__name__)


class Signing:
    """Makes sessions of users, and new ones of old ones. `SessionManager` says what its calls mean."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        store: SessionStore,
        journal: EndsJournal,
        honour: Honour,
        ends: Ends,
        loading: Loading,
        clock: StoreClock,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._journal = journal
        self._honour = honour
        self._ends = ends
        self._loading = loading
        self._clock = clock

    async def sign_in(
        self,
        session: Session,
        user_id: UserId | None,
        *,
        metadata: Mapping[str, str],
        remember: bool = False,
        generation: int | None = None,
    ) -> None:
        user, old = user_key(user_id), session.ending_address
        if generation is None:
            generation = await self._journal.generation(user) if user else 0
        if old is not None and not session.is_stored:
            session.forget()
        elif session.user and session.user != user:
            flashes = session.drain_flashes()
            session.forget()
            for kind, message in flashes.items():
                session.add_flash(kind, message)
        elif old is not None and not session.degraded:
            # Parallel requests may have written since it was loaded: take that along.
            with contextlib.suppress(StoreUnavailable):
                session.refresh(await self._store.load(old) or {})
        new, over_limit = await self.store_anew(session, user_id, metadata, remember=remember, generation=generation)
        try:
            if user:
                await self._check_current(new, generation)
            for handle in over_limit:
                await self._ends.end(Address(user, handle), "limit")
            if old is not None:
                await self._ends.end(old, "rotated")
        except (SessionEnded, Unavailable):  # what the client came with is as good as before
            await self._withdraw(new)
            session.forget()
            raise

    async def _check_current(self, at: Address, generation: int) -> None:
        """All of the user's sessions may have been ended before this one was there to be deleted. Raises `SessionEnded`."""
        if await self._journal.generation(at.user) > generation:
            raise SessionEnded(await self._journal.reason(at.user, at.handle, generation) or "revoked")

    async def rotate(
        self, session: Session, *, signs_in: bool = False, revokes: str | None = None, along: Along | None = None
    ) -> float:
        """Also end the user's other sessions, for the reason `revokes`; when that was committed, on the monotonic clock."""
        old = session.address
        generation = session.generation if revokes is None else session.generation + 1
        token = Cookie.fresh_token()
        new = Address(old.user, handle_of(token))
        auth_time, fault = await self._prepare(session, new, generation=generation, signs_in=signs_in)
        committed_at = await self._ends.record_rotation(
            old, new, deadline=session.deadline_ms, generation=session.generation, revokes=revokes, along=along
        )
        if committed_at is None:
            await self._withdraw(new)
            raise SessionEnded(await self._loading.why_gone(session))
        if fault is None:
            fault = await self._claim(session, old, new)
        # Whatever is raised from here on, the answer carries the new cookie: the old one's end is committed.
        session.set_rotated(new.handle, token, generation=generation, auth_time=auth_time)
        if fault is not None:
            now = self._clock.now_ms()
            session.set_renewed(now, min(now + session.idle_ms, session.deadline_ms))
            session.degrade(fault)
        try:
            await self._check_not_ended(old, new)
        except SessionEnded:
            session.forget()
            raise
        if fault is not None:
            with contextlib.suppress(StoreUnavailable):  # a full store still deletes
                await self._store.end_at_once(old)
            await lease_from(committed_at)
        await self._ends.outlast_copies()
        self._metrics.sessions_ended["rotated"].inc()
        return committed_at

    async def _prepare(
        self, session: Session, new: Address, *, generation: int, signs_in: bool
    ) -> tuple[int, StoreUnavailable | None]:
        """Copy the session: the time of sign-in it has then, and what kept us from it."""
        auth_time = self._clock.now_ms() if signs_in else session.auth_ms
        try:
            prepared = await self._store.prepare_rotation(session.address, new, generation=generation, signs_in=signs_in)
            if prepared is not None:
                return prepared, None
            raise SessionEnded(await self._loading.why_gone(session))
        except StoreUnavailable as fault:  # away, or it has lost the session
            if not self._carries_degraded:
                raise
            return auth_time, fault

    async def _check_not_ended(self, old: Address, new: Address, *, is_unclaimed: bool = False) -> None:
        """Neither a logout that came between must be outlived by the copy, nor another rotation: that came first, and is it.

        `is_unclaimed`: the copy could not become the session; then any other has. Raises `SessionEnded`.
        """
        rows, _ = await self._journal.covering([old])
        for number, row in enumerate(rows):
            if row.successor != new.handle and (row.reason != "rotated" or number == 0 or is_unclaimed):
                await self._withdraw(new)
                raise SessionEnded(row.reason)

    async def store_anew(
        self, session: Session, user_id: UserId | None, metadata: Mapping[str, str], *, remember: bool, generation: int = 0
    ) -> tuple[Address, tuple[str, ...]]:
        """Store it under a new id: which that is, and the user's sessions that are too many now."""
        user = user_key(user_id)
        token = Cookie.fresh_token()
        at = Address(user, handle_of(token))
        idle = lifetime = self._settings.session_remember_max_age
        if not remember:
            idle, lifetime = self._settings.session_max_age, self._settings.session_absolute_max_age
        delta = session.delta()
        fields: dict[str, Argument] = dict(session.all_data())
        if user:
            fields["g"] = generation
            fields.update(pack(metadata))
        fault: StoreUnavailable | None = None
        try:
            created = await self._store.create(
                at,
                idle_ms=idle * 1000,
                lifetime_ms=lifetime * 1000,
                max_per_user=self._settings.session_max_per_user,
                fields=fields,
            )
        except StoreUnavailable as error:
            # With a lost session's second chance the cookie carries it alone; without, nobody is signed in by it.
            if not user or not self._carries_degraded:
                raise
            fault = error
            now = self._clock.now_ms()
            created = Created(now, now + min(idle, lifetime) * 1000, ())
        session.accept(delta)
        session.set_user(user_id)
        session.generation, session.is_persistent, session.ended = generation, remember, None
        session.set_stored(
            at,
            token,
            created_at=created.created_at,
            expires_at=created.expires_at,
            idle_ms=idle * 1000,
            lifetime_ms=lifetime * 1000,
        )
        session.recover()
        if fault is not None:
            session.degrade(fault)
        else:
            self._metrics.sessions_created.inc()
            session.displaced = len(created.over_limit)
        return at, created.over_limit

    @property
    def _carries_degraded(self) -> bool:
        return self._honour.is_kept and self._settings.degraded_max_age > 0

    async def _withdraw(self, at: Address) -> None:
        """Take back a session whose token nobody will get."""
        try:
            await self._store.end_at_once(at)
        except StoreUnavailable:
            log.warning("session_left_behind", session=at.handle)

    async def _claim(self, session: Session, old: Address, new: Address) -> StoreUnavailable | None:
        """Make the rotation's copy the session; what kept us from it. Raises `SessionEnded`."""
        try:
            renewed = await self._store.claim_rotation(old, new)
            if renewed is None:
                await self._check_not_ended(old, new, is_unclaimed=True)
                raise StoreUnavailable("the session's new id was not claimed in time", kind="timeout")  # noqa: TRY301
        except StoreUnavailable as fault:
            if not self._carries_degraded:
                raise
            return fault
        session.set_renewed(renewed.renewed_at, renewed.expires_at)
        return None
