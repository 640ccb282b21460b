"""The session manager: every step of a session's life, for code with and without a request.

The order of steps is the protocol's. A rotation first copies, then commits the old session's end, then deletes it,
so that a time-out anywhere leaves either the old session good or the new one claimed. An end is committed to the
journal before it is deleted in Redis, so that no failover brings it back.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ..errors import SessionEnded, StoreUnavailable, Unavailable
from .clock import StoreClock
from .cookie import Cookie, KeyRing
from .journal import EndRow, EndsJournal, NoJournal
from .keys import TAG_COUNT, Address, Keys, UserId, handle_of, user_key
from .session import Session, decode_metadata, decode_value, encode_value
from .store import Conflict, Ended, Fields, SessionStore

if TYPE_CHECKING:
    from ..backend.client import Argument, PoolFigures, RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_REASONS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of a user's sessions, as a list shows it."""

    id: str
    created_at: datetime
    last_access: datetime
    expires_at: datetime
    ip_address: str
    user_agent: str
    device_type: str
    location: str


class SessionManager:
    """Sessions of one application. `attach` gives it its stores before the first request."""

    def __init__(self, settings: Settings, metrics: Metrics, ring: KeyRing) -> None:
        self.settings = settings
        self.ring = ring
        self.clock = StoreClock()
        self._metrics = metrics
        self._keys = Keys(settings.redis_key_prefix)
        self._renew_ms = int((settings.session_renew_interval or 0) * 1000)
        self._changing: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()
        self._reasons: OrderedDict[str, str] = OrderedDict()
        self._client: RedisClient | None = None
        self._store: SessionStore | None = None
        self._journal: EndsJournal = NoJournal()
        self._sweep_at = 0

    def attach(self, client: RedisClient, journal: EndsJournal) -> None:
        """Take the stores that this process has connected."""
        self._client = client
        self._journal = journal
        self._store = SessionStore(
            client, self._keys, self.clock, max_bytes=self.settings.session_max_bytes, timeout=self.settings.redis_read_timeout
        )

    @property
    def client(self) -> RedisClient:
        if self._client is None:
            raise StoreUnavailable("the application has not started: sessions are there from its start-up on", kind="closed")
        return self._client

    @property
    def store(self) -> SessionStore:
        if self._store is None:
            raise StoreUnavailable("the application has not started: sessions are there from its start-up on", kind="closed")
        return self._store

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

    async def load(self, value: str) -> Session:
        """The session of a sealed value.

        Where the value does not open it is an anonymous visitor's; where it did and the session is gone, `ended`
        says why; where a store cannot be asked, whatever is asked of the session raises that.
        """
        session = Session(self)
        cookie = self.ring.open(value)
        if cookie is None:
            self._metrics.session_loads["invalid"].inc()
            return session
        try:
            fields = await self.store.ask(cookie.address)
            if self.store.is_there(fields) and self._fill(session, cookie, fields):
                self._metrics.session_loads["hit"].inc()
                return session
            self._metrics.session_loads["miss"].inc()
            if cookie.user:
                session.ended = await self._why_ended(cookie.user, cookie.handle, cookie.generation)
        except Unavailable as fault:
            self._metrics.session_loads["degraded"].inc()
            session.fail(fault)
        return session

    def seal(self, session: Session) -> str:
        """The value that opens a stored session: for a cookie, or a bearer."""
        if session.token is None:
            raise ValueError("the session is not stored; write to it, or sign in, first")
        return self.ring.seal(
            session.token,
            user_id=session.user_id,
            generation=session.generation,
            auth_time=session.auth_ms,
            deadline=session.deadline_ms,
            idle_ms=session.idle_ms,
            issued_at=self.clock.now_ms(),
            is_persistent=session.is_persistent,
        )

    def renewal_horizon(self) -> int:
        """Sessions renewed before this time are due (milliseconds since the epoch)."""
        return self.clock.now_ms() - self._renew_ms + 1

    async def save(self, session: Session, *, renew: bool = False) -> bool:
        """Write what changed, and slide the idle lifetime where that is due; whether to issue the cookie anew.

        Raises `SessionEnded`, `SessionTooLarge`, `StoreUnavailable`.
        """
        delta = session.delta()
        if not session.is_stored:
            if delta:
                await self._store_anew(session, None, {}, remember=False)
            return bool(delta)
        renew = renew and session.renewed_ms < self.renewal_horizon()
        if not delta:
            return renew and await self.renew(session)
        saved = await self.store.save(session.address, delta, renew=renew)
        if saved is None:
            raise SessionEnded(await self._why_ended(session.user, session.handle, session.generation))
        session.accept(delta)
        self._metrics.session_bytes.observe(saved.size)
        if saved.renewed is not None:
            session.set_renewed(saved.renewed.renewed_at, saved.renewed.expires_at)
        return saved.renewed is not None

    async def renew(self, session: Session) -> bool:
        """Slide the idle lifetime; False where the session is gone. A store that is away is no fault of the request."""
        try:
            renewed = await self.store.renew(session.address, interval_ms=self._renew_ms)
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
                    raise SessionEnded(await self._why_ended(session.user, session.handle, session.generation))
                session.accept_value(key, raw, value)
                self._metrics.session_bytes.observe(outcome)
                return value

    async def take(self, session: Session, names: list[str]) -> list[bytes | None]:
        """Read and delete fields, so that each value is handed out once, also to parallel requests."""
        if not session.is_stored:
            return [None] * len(names)
        taken = await self.store.take(session.address, names)
        if taken is None:
            raise SessionEnded(await self._why_ended(session.user, session.handle, session.generation))
        return taken

    async def exists(self, user_id: UserId | None, handle: str) -> bool:
        return await self.store.exists(Address(user_key(user_id), handle))

    # Signing in and out

    async def sign_in(
        self, session: Session, user_id: UserId | None, *, metadata: Mapping[str, str], remember: bool = False
    ) -> None:
        """Give the session a new id and this user. An anonymous visitor's data comes along, another user's does not."""
        old = session.address if session.is_stored else None
        if session.user and session.user != user_key(user_id):
            flashes = session.drain_flashes()
            session.forget()
            for kind, message in flashes.items():
                session.add_flash(kind, message)
        elif old is not None:
            # Parallel requests may have written since it was loaded: take that along.
            session.refresh(await self.store.load(old) or {})
        new = await self._store_anew(session, user_id, metadata, remember=remember)
        if old is not None:
            try:
                await self._end(old, "rotated")
            except Unavailable:
                await self._withdraw(new)
                raise

    async def rotate(self, session: Session, *, signs_in: bool = False, generation: int | None = None) -> None:
        """Give a stored session a new id, after any change of privilege; its data stays.

        `signs_in`: the user has just given the password. Raises `SessionEnded`.
        """
        old = session.address
        if not old.user:
            await self.sign_in(session, None, metadata={})
            return
        if generation is None:
            generation = session.generation
        token = Cookie.fresh_token()
        new = Address(old.user, handle_of(token))
        auth_time = await self.store.prepare_rotation(old, new, generation=generation, signs_in=signs_in)
        if auth_time is None:
            raise SessionEnded(await self._why_ended(old.user, old.handle, session.generation))
        await self._record(old, "rotated")
        renewed = await self.store.claim_rotation(old, new)
        if renewed is None:
            raise StoreUnavailable("the session's new id was not claimed in time", kind="timeout")
        session.set_rotated(new.handle, token, generation=generation, auth_time=auth_time)
        session.set_renewed(renewed.renewed_at, renewed.expires_at)
        self._metrics.sessions_ended["rotated"].inc()

    async def end(self, session: Session, reason: str = "logout") -> None:
        """End a session for good. It is an anonymous visitor's afterwards."""
        if session.is_stored:
            await self._end(session.address, reason)
        session.forget()

    # A user's sessions

    async def list(self, user_id: UserId) -> list[SessionInfo]:
        """The user's live sessions, newest first."""
        found = await self.store.of_user(user_key(user_id))
        return [_info(handle, fields) for handle, fields in reversed(found)]

    async def revoke(self, user_id: UserId, handle: str, *, reason: str = "revoked") -> bool:
        """End one session of the user; False where the user has no such session."""
        at = Address(user_key(user_id), handle)
        if not await self.store.exists(at):
            return False
        return await self._end(at, reason) is not None

    async def revoke_all(self, user_id: UserId, *, keep: Session | None = None, reason: str = "revoked") -> int:
        """End every session of the user, but for `keep`, which gets a new id; how many ended."""
        user = user_key(user_id)
        now = self.clock.now_ms()
        generation = await self._journal.raise_generation(user, reason, ended_at=now, expires_at=now + self._longest_ms)
        kept = ""
        if keep is not None:
            await self.rotate(keep, generation=generation)
            kept = keep.handle
        handles = [handle for handle in await self.store.handles(user) if handle != kept]
        ended = await asyncio.gather(*(self.store.end(Address(user, handle)) for handle in handles))
        for handle, end in zip(handles, ended, strict=True):
            self._note_end(handle, reason, end)
        return sum(end is not None for end in ended)

    # The fleet

    async def count_active(self) -> int:
        """Live sessions of the whole fleet."""
        return await self.store.count_active()

    async def sweep(self, tags: int = TAG_COUNT) -> int:
        """Clear expired sessions of the next `tags` tags out of the indexes and count them; how many."""
        begin, self._sweep_at = self._sweep_at, (self._sweep_at + tags) % TAG_COUNT
        swept = await asyncio.gather(*(self.store.sweep(begin + step) for step in range(tags)))
        ended = [end for each in swept for end in each]
        for end in ended:
            self._metrics.sessions_ended["expired"].inc()
            self._metrics.session_lifetime.observe(end.lifetime_seconds)
        return len(ended)

    async def prune_journal(self) -> int:
        """Drop journal rows that no session needs any more; how many."""
        return await self._journal.prune(self.clock.now_ms())

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

    # Steps

    @property
    def _longest_ms(self) -> int:
        return 1000 * max(self.settings.session_absolute_max_age, self.settings.session_remember_max_age)

    def _fill(self, session: Session, cookie: Cookie, fields: Fields) -> bool:
        """Whether the fields make a session of the cookie's user; what cannot be read is a missing session."""
        try:
            if fields.get(b"u", b"").decode() == cookie.user:
                session.fill(cookie, fields)
                return True
        except (KeyError, ValueError):
            session.forget()
        log.warning("session_unreadable", session=cookie.handle)
        return False

    async def _store_anew(
        self, session: Session, user_id: UserId | None, metadata: Mapping[str, str], *, remember: bool
    ) -> Address:
        user = user_key(user_id)
        token = Cookie.fresh_token()
        at = Address(user, handle_of(token))
        idle = lifetime = self.settings.session_remember_max_age
        if not remember:
            idle, lifetime = self.settings.session_max_age, self.settings.session_absolute_max_age
        delta = session.delta()
        fields: dict[str, Argument] = dict(session.all_data())
        generation = 0
        if user:
            generation = await self._journal.generation(user)
            fields["g"] = generation
            fields["m"] = msgspec.json.encode(dict(metadata))
        created = await self.store.create(
            at, idle_ms=idle * 1000, lifetime_ms=lifetime * 1000, max_per_user=self.settings.session_max_per_user, fields=fields
        )
        session.accept(delta)
        session.user_id, session.generation, session.is_persistent, session.ended = user_id, generation, remember, None
        session.set_stored(
            at,
            token,
            created_at=created.created_at,
            expires_at=created.expires_at,
            idle_ms=idle * 1000,
            lifetime_ms=lifetime * 1000,
        )
        self._metrics.sessions_created.inc()
        for handle in created.over_limit:
            await self._end(Address(user, handle), "limit")
        return at

    async def _withdraw(self, at: Address) -> None:
        """Take back a session whose token nobody will get."""
        try:
            await self.store.end(at)
        except StoreUnavailable:
            log.warning("session_left_behind", session=at.handle)

    async def _end(self, at: Address, reason: str) -> Ended | None:
        await self._record(at, reason)
        ended = await self.store.end(at)
        self._note_end(at.handle, reason, ended)
        return ended

    async def _record(self, at: Address, reason: str) -> None:
        now = self.clock.now_ms()
        await self._journal.record([EndRow(at.user, at.handle, reason, now, now + self._longest_ms)])

    def _note_end(self, handle: str, reason: str, ended: Ended | None) -> None:
        self._remember_reason(handle, reason)
        if ended is not None:
            self._metrics.sessions_ended[reason].inc()
            self._metrics.session_lifetime.observe(ended.lifetime_seconds)

    async def _why_ended(self, user: str, handle: str, generation: int) -> str:
        """What the journal says of a session that the store has not. An end is final: it is asked once."""
        reason = self._reasons.get(handle)
        if reason is None:
            reason = await self._journal.reason(user, handle, generation) or "expired"
            self._remember_reason(handle, reason)
        return reason

    def _remember_reason(self, handle: str, reason: str) -> None:
        self._reasons[handle] = reason
        if len(self._reasons) > _REASONS_REMEMBERED:
            self._reasons.popitem(last=False)


def _info(handle: str, fields: Fields) -> SessionInfo:
    noted = decode_metadata(fields.get(b"m"))
    renewed, idle, deadline = int(fields[b"r"]), int(fields[b"i"]), int(fields[b"d"])
    return SessionInfo(
        id=handle,
        created_at=_moment(int(fields[b"c"])),
        last_access=_moment(renewed),
        expires_at=_moment(min(renewed + idle, deadline)),
        ip_address=str(noted.get("ip_address", "")),
        user_agent=str(noted.get("user_agent", "")),
        device_type=str(noted.get("device_type", "")),
        location=str(noted.get("location", "")),
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
