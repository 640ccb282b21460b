"""From a sealed value to a session: from the store, from the cookie alone while the store is away, or none.

What cannot be known leaves as a fault that whoever asks the session gets (503), never as "signed out".
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from ..backend.budget import spend
from ..backend.near_cache import HEARD_SECONDS
from ..backend.standing import UNKNOWN
from ..errors import DatabaseUnavailable, StoreUnavailable, Unavailable
from .store import PENDING

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..backend.standing import Standing
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .clock import StoreClock
    from .cookie import Cookie
    from .honour import Honour
    from .keys import Address
    from .restore import NotesOf, Restore
    from .session import Session
    from .store import Fields, SessionStore

log = structlog.get_logger(__name__)

_HEARD_MS = int(HEARD_SECONDS * 1000)


class Loading:
    """Fills sessions."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        client: RedisClient,
        store: SessionStore,
        honour: Honour,
        restore: Restore,
        clock: StoreClock,
    ) -> None:
        self._client = client
        self._store = store
        self._honour = honour
        self._restore = restore
        self._clock = clock
        self._lifetime_ms = 1000 * settings.session_absolute_max_age
        self._persistent_lifetime_ms = 1000 * settings.session_remember_max_age
        self._results = metrics.session_loads
        self._hits = metrics.session_loads["hit"]
        self._cache_hits = metrics.session_cache_hits
        self._keeps_copies = settings.session_cache_max_age > 0

    async def fill(self, session: Session, cookie: Cookie, notes: NotesOf) -> None:
        """Make `session` what the cookie opens: stored, degraded, ended or unknown."""
        at, key = cookie.address, cookie.key or self._key_of(cookie)
        standing = self._client.standing(key)
        serial = standing.serial
        began = time.monotonic()
        try:
            fields = await self._store.ask(key)  # by itself it takes the read time-out at most
        except StoreUnavailable as fault:
            spend(time.monotonic() - began)
            await self._without_store(session, cookie, fault)
            return
        now = time.monotonic()
        spend(now - began)
        if self._client.standing(key) is not standing:  # a Cluster's shard has answered for another one
            standing, serial = UNKNOWN, 0
        if self._store.is_there(fields) and self._read(session, cookie, fields):
            if PENDING not in fields and self._honour.vouches(standing, serial, at, session.generation, now):
                self._hit(session, cookie)
            else:
                await self._in_doubt(session, cookie, standing, serial, is_pending=PENDING in fields)
            return
        await self._missing(session, cookie, standing, serial, notes)

    def fill_by_copy(self, session: Session, cookie: Cookie) -> bool:
        """The same without asking, where there is a copy of the answer and that would do by itself; whether it did."""
        if not self._keeps_copies:
            return False
        honour, key = self._honour, cookie.key or self._key_of(cookie)
        standing = self._client.standing(key)
        fields = standing.near.get(key) if standing.near is not None else None
        if fields is None or PENDING in fields:
            return False
        now_seconds = time.monotonic()
        if honour.is_kept and not honour.vouches(standing, standing.serial, cookie.address, cookie.generation, now_seconds):
            return False
        if not self._read(session, cookie, fields):
            return False
        now = self._clock.now_ms()
        if session.expires_ms <= now:  # the server tells when it has cleared it away, which may be later
            session.forget()
            return False
        # No news since: the store has it, or had it when it was heard last.
        session.known_ms = now
        cookie.seen_ms, cookie.renewed_ms = now - _HEARD_MS, session.renewed_ms
        self._hits.pending += 1
        self._cache_hits.pending += 1
        return True

    async def why_gone(self, session: Session) -> str:
        """Of a session that the store had a moment ago.

        Raises `StoreUnavailable` where Redis lost it: the next request brings it back. Raises `DatabaseUnavailable`.
        """
        reason = await self._honour.why_ended_by_journal(session.user, session.handle, session.generation)
        if reason is None and session.user and self._honour.is_kept and session.expires_ms > self._clock.now_ms():
            raise StoreUnavailable("Redis lost the session a moment ago; its next request brings it back")
        return reason or "expired"

    def _key_of(self, cookie: Cookie) -> str:
        cookie.key = self._store.key(cookie.address)
        return cookie.key

    def _hit(self, session: Session, cookie: Cookie) -> None:
        session.known_ms = cookie.seen_ms = self._clock.now_ms()
        cookie.renewed_ms = session.renewed_ms
        self._hits.pending += 1

    async def _in_doubt(self, session: Session, cookie: Cookie, standing: Standing, serial: int, *, is_pending: bool) -> None:
        """The store has it, but that alone does not do."""
        at = cookie.address
        try:
            if is_pending and self._honour.is_kept:
                reason = await self._restore.settle_pending(at, session.generation)
            else:
                reason = await self._honour.why_ended(standing, serial, at.user, at.handle, session.generation)
        except Unavailable as fault:
            session.forget()
            self._unknown(session, cookie, fault)
            return
        if reason is None:
            self._hit(session, cookie)
        else:
            session.forget()
            self._ended(session, reason)
            if not is_pending and self._honour.is_settled(standing, serial):
                await self._clear_away(at, reason)

    async def _clear_away(self, at: Address, reason: str) -> None:
        """The journal was applied, and the store has it all the same: it was stored later, or no index named it."""
        if reason != "rotated":  # that one may be on its way to its new id, and has the data yet
            with contextlib.suppress(StoreUnavailable):
                await self._store.end_at_once(at)

    async def _missing(self, session: Session, cookie: Cookie, standing: Standing, serial: int, notes: NotesOf) -> None:
        """The store has no such session: ended, expired, or lost."""
        if not cookie.user:
            self._results["miss"].inc()
            return
        is_lost = self._honour.is_good_alone(cookie)
        try:
            if not self._honour.is_settled(standing, serial):
                await self._by_journal(session, cookie, StoreUnavailable("the store is not settled and has no such session"))
            elif not is_lost:
                self._ended(session, await self._reason_of_miss(cookie))
            else:
                await self._bring_back(session, cookie, notes)
        except Unavailable as fault:
            self._unknown(session, cookie, fault)

    async def _reason_of_miss(self, cookie: Cookie) -> str:
        """For the 401 that is due anyway: the reason, where somebody knows it."""
        try:
            at = cookie.address
            return await self._honour.why_ended_by_journal(at.user, at.handle, cookie.generation) or "expired"
        except DatabaseUnavailable:
            return "expired"

    async def _bring_back(self, session: Session, cookie: Cookie, notes: NotesOf) -> None:
        try:
            fields, reason, is_restored = await self._restore.restore(cookie, self._created_ms(cookie), notes)
        except StoreUnavailable as fault:  # it takes no write now: another time
            await self._by_journal(session, cookie, fault)
            return
        if fields is not None and self._read(session, cookie, fields):
            session.restored = is_restored
            self._hit(session, cookie)
        else:
            self._ended(session, reason or "expired")

    async def _without_store(self, session: Session, cookie: Cookie, fault: StoreUnavailable) -> None:
        if not cookie.user:
            session.degrade(fault)
            self._results["degraded"].inc()
            return
        try:
            await self._by_journal(session, cookie, fault)
        except DatabaseUnavailable as other:
            self._unknown(session, cookie, other)

    async def _by_journal(self, session: Session, cookie: Cookie, fault: StoreUnavailable) -> None:
        """The cookie and the journal alone. Raises `DatabaseUnavailable`."""
        at = cookie.address
        if not self._honour.is_kept:
            self._unknown(session, cookie, fault)
            return
        if cookie.deadline <= self._clock.now_ms():
            self._ended(session, "expired")
            return
        is_good = self._honour.is_good_alone(cookie)
        reason = await self._honour.why_ended_by_journal(at.user, at.handle, cookie.generation)
        if reason is not None:
            self._ended(session, reason)
        elif is_good:
            session.fill_from_cookie(cookie, created_ms=self._created_ms(cookie))
            session.degrade(fault)
            self._results["degraded"].inc()
        else:
            self._unknown(session, cookie, fault)

    def _read(self, session: Session, cookie: Cookie, fields: Fields) -> bool:
        """Whether the fields make a session of the cookie's user; what cannot be read is a missing session."""
        try:
            session.fill(cookie, fields)
        except (KeyError, ValueError):
            session.forget()
            log.warning("session_unreadable", session=cookie.handle)
            return False
        return True

    def _ended(self, session: Session, reason: str) -> None:
        session.ended = reason
        self._results["miss"].inc()

    def _unknown(self, session: Session, cookie: Cookie, fault: Unavailable) -> None:
        session.fail(fault, cookie)
        self._results["degraded"].inc()

    def _created_ms(self, cookie: Cookie) -> int:
        return cookie.deadline - (self._persistent_lifetime_ms if cookie.is_persistent else self._lifetime_ms)
