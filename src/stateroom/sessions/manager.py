"""The session manager: every step of a session's life, for code with and without a request."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from ..errors import NotByAccessToken, SessionEnded, StoreUnavailable
from .clock import StoreClock
from .cookie import KeyRing
from .data import decode_value, encode_value
from .honour import StoreState
from .keys import TAG_COUNT, Address, Keys, UserId, user_key
from .listing import SessionInfo
from .restore import NotesOf
from .rows import Along, EndsJournal, NoJournal
from .session import Session
from .store import Conflict, SessionStore
from .stores import Stores, connect
from .tokens import AccessTokens, looks_like_one

if TYPE_CHECKING:
    from ..backend.client import PoolFigures, RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .cookie import Cookie

log = structlog.get_logger(__name__)

PRUNED_AT_ONCE = 5000
TAGS_SWEPT_AT_ONCE = 8
"""They share a connection with the checks, which wait behind them."""


class SessionManager:
    """Sessions of one application. `attach` gives it its stores before the first request."""

    def __init__(self, settings: Settings, metrics: Metrics, ring: KeyRing) -> None:
        self.settings = settings
        self.ring = ring
        self.clock = StoreClock()
        self._metrics = metrics
        self._keys = Keys(settings.redis_key_prefix)
        self.tokens = AccessTokens(settings, self.clock) if settings.jwt_keys else None
        self.renew_ms = int(settings.session_renew_interval * 1000)
        self._changing: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()
        self._attached: Stores | None = None
        self._sweep_at = 0

    def attach(self, client: RedisClient, journal: EndsJournal | None = None) -> Stores:
        """Take the stores that this process has connected."""
        self._attached = connect(
            client,
            journal or NoJournal(),
            settings=self.settings,
            metrics=self._metrics,
            keys=self._keys,
            clock=self.clock,
        )
        return self._attached

    @property
    def stores(self) -> Stores:
        if self._attached is None:
            raise StoreUnavailable("the application has not started: sessions are there from its start-up on", kind="closed")
        return self._attached

    @property
    def client(self) -> RedisClient:
        return self.stores.client

    @property
    def store(self) -> SessionStore:
        return self.stores.store

    # One session

    def anonymous(self) -> Session:
        """A visitor's session that is not stored."""
        return Session(self)

    async def create(
        self,
        user_id: UserId | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        remember: bool = False,
    ) -> Session:
        """Store a new session, signed in where a user is given. Seal it with `seal`."""
        session = Session(self)
        session.update(data or {})
        await self.sign_in(session, user_id, metadata=metadata or {}, remember=remember)
        return session

    async def load(self, value: str, notes: NotesOf = dict, *, fresh: bool = False) -> Session:
        """The session of a sealed value, or of an access token.

        Where the value does not open it is an anonymous visitor's; where it did and the session is gone, `ended`
        says why. While the store is away it may be `degraded`: who it is, without data. Where that cannot be known
        either, whatever is asked of the session raises why. `notes` tells what a session that is stored again notes
        of its client. `fresh`: no copy of it will do (`SESSION_CACHE_MAX_AGE`).
        """
        session, filling = self.begin(value, notes, fresh=fresh)
        if filling is not None:
            await filling
        return session

    def begin(
        self, value: str | None, notes: NotesOf = dict, *, fresh: bool = False, is_bearer: bool = True
    ) -> tuple[Session, Coroutine[Any, Any, None] | None]:
        """`load` without a coroutine of its own: the session, and what must be awaited before anybody looks at it.

        `is_bearer`: it may be an access token, which is no cookie's value.
        """
        session = Session(self)
        if value is None:
            return session, None
        cookie = self._open_bearer(value) if is_bearer else self.ring.open(value)
        if cookie is not None and self._attached is not None:
            loading = self._attached.loading
            if not fresh and loading.fill_by_copy(session, cookie):
                return session, None
            return session, loading.fill(session, cookie, notes)
        if cookie is None:
            self._metrics.session_loads["invalid"].inc()
        else:
            session.fail(StoreUnavailable("the application has not started", kind="closed"))
        return session, None

    def opens(self, value: str) -> bool:
        """Whether a bearer is one of ours, whatever has become of its session."""
        return self._open_bearer(value) is not None

    def _open_bearer(self, value: str) -> Cookie | None:
        if self.tokens is not None and looks_like_one(value):
            return self.tokens.open(value)
        return self.ring.open(value)

    def seal(self, session: Session) -> str:
        """The value that opens a stored session: for a cookie, or a bearer.

        Raises `ValueError` where nothing is stored, and of a session that an access token opened: that is good for minutes.
        """
        if not session.token:
            if session.is_stored:
                raise ValueError("an access token opened the session, and must not outlive itself as a sealed value")
            raise ValueError("the session is not stored; write to it, or sign in, first")
        return self.ring.seal(
            session.token,
            user_id=session.user_id,
            generation=session.generation,
            auth_time=session.auth_ms,
            deadline=session.deadline_ms,
            idle_ms=session.idle_ms,
            issued_at=session.confirmed_ms or self.clock.now_ms(),
            is_persistent=session.is_persistent,
        )

    def renewal_horizon(self) -> int:
        """Sessions renewed before this time are due (milliseconds since the epoch)."""
        return self.clock.now_ms() - self.renew_ms + 1

    async def save(self, session: Session, *, renew: bool = False) -> bool:
        """Write what changed, and slide the idle lifetime where that is due; whether to issue the cookie anew.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`.
        """
        delta = session.delta()
        if not session.is_stored:
            if delta:
                await self.stores.signing.store_anew(session, None, {}, remember=False)
            return bool(delta)
        renew = renew and session.renewed_ms < self.renewal_horizon()
        if not delta:
            return renew and await self.renew(session)
        saved = await self.store.save(session.address, delta, renew=renew)
        if saved is None:
            raise SessionEnded(await self.stores.loading.why_gone(session))
        session.accept(delta)
        self._metrics.session_bytes.observe(saved.size)
        if saved.renewed is not None:
            session.set_renewed(saved.renewed.renewed_at, saved.renewed.expires_at)
        return saved.renewed is not None

    async def renew(self, session: Session) -> bool:
        """Slide the idle lifetime; False where the session is gone. A store that is away is no fault of the request."""
        try:
            renewed = await self.store.renew(session.address, interval_ms=self.renew_ms)
        except StoreUnavailable as fault:
            log.debug("renewal_put_off", reason=fault.detail)
            return False
        if renewed is None:
            return False
        session.set_renewed(renewed.renewed_at, renewed.expires_at)
        return True

    async def change(self, session: Session, key: str, function: Callable[[Any], Any]) -> Any:
        """See `Session.change`."""
        if not session.is_stored:
            value = function(session.get(key))
            if value is not None:
                session[key] = value
            elif key in session:
                del session[key]
            await self.save(session)
            return value
        name, seen = f".{key}", session.raw(key)
        # Within a worker callers take turns, so that many of them don't all try again each time one succeeds.
        lock = self._changing.setdefault((session.handle, key), asyncio.Lock())
        async with lock:
            while True:
                value = function(decode_value(seen))
                raw = None if value is None else encode_value(key, value)
                outcome = await self.store.change(session.address, name, seen, raw)
                if isinstance(outcome, Conflict):
                    seen = outcome.current
                    continue
                if outcome is None:
                    raise SessionEnded(await self.stores.loading.why_gone(session))
                session.accept_value(key, raw, value)
                self._metrics.session_bytes.observe(outcome)
                return value

    async def take(self, session: Session, names: list[str]) -> list[bytes | None]:
        """Read and delete fields, so that each value is handed out once, also to parallel requests."""
        if not session.is_stored:
            return [None] * len(names)
        taken = await self.store.take(session.address, names)
        if taken is None:
            raise SessionEnded(await self.stores.loading.why_gone(session))
        return taken

    async def exists(self, user_id: UserId | None, handle: str) -> bool:
        return await self.store.exists(Address(user_key(user_id), handle))

    # Signing in and out

    async def sign_in(
        self,
        session: Session,
        user_id: UserId | None,
        *,
        metadata: Mapping[str, str],
        remember: bool = False,
        generation: int | None = None,
    ) -> None:
        """Give the session a new id and this user. An anonymous visitor's data comes along, another user's does not.

        While the store takes no writes the session is degraded: it is in its cookie alone, and is stored as soon as
        the store can tell that it lost it. `generation`: the user's, as it was before the password was looked up.
        Raises `SessionEnded` where all of the user's sessions were ended since; the session is nobody's then.
        """
        await self.stores.signing.sign_in(session, user_id, metadata=metadata, remember=remember, generation=generation)

    async def generation(self, user_id: UserId) -> int:
        """How often all of a user's sessions were ended. Raises `DatabaseUnavailable`."""
        return await self.stores.journal.generation(user_key(user_id))

    async def rotate(self, session: Session, *, signs_in: bool = False) -> None:
        """Give a stored session a new id, after any change of privilege; its data stays.

        `signs_in`: the user has just given the password. Once the old one's end is committed the new one is good,
        whatever becomes of the store: it is stored now or, without its data, later. Raises `NotByAccessToken`,
        `SessionEnded`, `DatabaseUnavailable`, `StoreUnavailable`.
        """
        check_can_rotate(session)
        if session.user:
            await self.stores.signing.rotate(session, signs_in=signs_in)
        else:
            await self.sign_in(session, None, metadata={})

    async def end(self, session: Session, reason: str = "logout") -> None:
        """End a session for good. It is an anonymous visitor's afterwards."""
        at = session.ending_address
        if at is not None:
            await self.stores.ends.end(at, reason, deadline=session.deadline_ms)
        session.forget()

    # A user's sessions

    async def list(self, user_id: UserId) -> list[SessionInfo]:
        """The user's live sessions, newest first."""
        found = await self.store.of_user(user_key(user_id))
        return [SessionInfo.of(handle, fields) for handle, fields in reversed(found)]

    async def revoke(self, user_id: UserId, handle: str, *, reason: str = "revoked") -> bool | None:
        """End one session of the user: False where the user has no such session, None where that can't be known.

        What can't be known is ended all the same.
        """
        at = Address(user_key(user_id), handle)
        stores = self.stores
        is_there: bool | None = None
        try:
            is_there = await stores.store.exists(at)
        except StoreUnavailable:
            if not stores.honour.is_kept:
                raise
        standing = stores.client.standing(stores.store.key(at))
        if is_there is False and stores.honour.is_settled(standing, standing.serial):
            return False
        ended = await stores.ends.end(at, reason)
        return True if ended is not None or is_there else None

    async def revoke_all(
        self, user_id: UserId, *, keep: Session | None = None, reason: str = "revoked", along: Along | None = None
    ) -> int | None:
        """End every session of the user, but for `keep`, which gets a new id: how many ended, None if unknown.

        `along` is called with the connection that is about to commit it: what it writes is stored with the end of the
        sessions, or neither is. It needs the journal.
        Raises `SessionEnded` where `keep` has ended meanwhile, `NotByAccessToken` where an access token opened it:
        nobody else is ended by it then.
        """
        user, stores = user_key(user_id), self.stores
        if along is not None and not stores.honour.is_kept:
            raise ValueError("with DATABASE_URL=none there is no transaction to write in")
        if keep is None:
            generation, committed_at = await stores.ends.raise_generation(user, reason, along)
        else:
            check_can_rotate(keep)
            committed_at = await stores.signing.rotate(keep, revokes=reason, along=along)
            generation = keep.generation
        return await stores.ends.end_older(
            user,
            generation if stores.honour.is_kept else None,
            reason,
            spare=keep.handle if keep is not None else "",
            committed_at=committed_at,
        )

    # The fleet

    async def count_active(self) -> int:
        """Live sessions of the whole fleet."""
        return await self.store.count_active()

    async def sweep(self, tags: int = TAG_COUNT) -> int:
        """Clear expired sessions of the next `tags` tags out of the indexes and count them; how many."""
        begin, self._sweep_at = self._sweep_at, (self._sweep_at + tags) % TAG_COUNT
        count, fault = 0, None
        for first in range(begin, begin + tags, TAGS_SWEPT_AT_ONCE):
            some = range(first, min(first + TAGS_SWEPT_AT_ONCE, begin + tags))
            for each in await asyncio.gather(*(self.store.sweep(tag) for tag in some), return_exceptions=True):
                if isinstance(each, BaseException):  # what others have swept is counted all the same: nobody sees it again
                    fault = each
                    continue
                count += len(each)
                for end in each:
                    self._metrics.sessions_ended["expired"].inc()
                    self._metrics.session_lifetime.observe(end.lifetime_seconds)
        if fault is not None:
            raise fault
        return count

    async def prune_journal(self) -> int:
        """Drop journal rows that no session needs any more, a bounded number of them; how many."""
        return await self.stores.journal.prune(self.clock.now_ms(), PRUNED_AT_ONCE)

    async def calibrate(self) -> None:
        """Compare this host's clock with Redis'."""
        await self.clock.calibrate(self.client, self._keys.sweeper)

    async def ping(self) -> None:
        """Raises `StoreUnavailable` where Redis does not answer."""
        for key in self.client.shards():
            await self.client.execute(key, "PING")

    def pool_figures(self) -> PoolFigures:
        """The connection pool now."""
        return self.client.pool_figures()

    def store_state(self) -> StoreState:
        """The store as this process sees it: settled, unsettled, read_only or away."""
        return self.stores.honour.state(self.client, self.store)

    def journal_age(self) -> float:
        """Seconds since this process last began to read the journal with success; NaN where there is none."""
        return self.stores.tail.age if self.stores.honour.is_kept else math.nan


def check_can_rotate(session: Session) -> None:
    """Raises `NotByAccessToken`: what an access token opened has no new id for it to hand out, and the client keeps its own."""
    if session.is_stored and not session.is_sealable:
        raise NotByAccessToken
