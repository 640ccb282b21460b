"""Sessions of aiohttp-session's Redis, carried over: nobody is signed out by the move.

A request that has no session of ours, but a cookie of theirs, gets what that stands for as a session here, once. The
token is derived from the old cookie, by a key that only we have: parallel requests, also on several workers, make one
session of it and not several, and one whose answer was lost comes to the same. First the new session is stored, then
the old key gives way to a mark that lives for a minute: it leads the stragglers among a browser's requests to the new
session, and holds nothing but whose that is. Where either Redis cannot be asked the request learns that, and nothing is
lost by trying again.

What is no session of theirs is let be. Whose every session has been ended since (a new password, signed out everywhere,
disabled) signs in again: the journal has ended the old ones too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
import structlog
from aiohttp import web
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..errors import SessionTooLarge, SettingsError, StoreUnavailable, Unavailable
from ..telemetry.logging import security_event
from .cookie import Cookie
from .data import DATA_PREFIX, encode_value
from .keys import Address, UserId, handle_of, user_id_of, user_key
from .notes import pack
from .transport import read_cookie
from .visit import SESSIONS, get_visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp.typedefs import Handler

    from ..backend.client import Argument
    from .manager import SessionManager
    from .session import Session
    from .store import Fields
    from .visit import Visit

log = structlog.get_logger(__name__)

MARK_SECONDS = 60
"""How long the old cookie leads to the new session: for requests that left before the browser had the new one."""

_PLAUSIBLE = re.compile(r"[A-Za-z0-9._~=-]{1,200}")
_MARK = """
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""
_MEMBERS = {"user", "carried_to", "created"}


def carry_over(app: web.Application, *, redis_url: str, user_key: str, cookie_name: str = "AIOHTTP_SESSION") -> None:
    """Have sessions of aiohttp-session's `RedisStorage` go on as sessions here. Call it right after `setup(app)`.

    `redis_url`: where they are. `cookie_name`: the storage's. `user_key`: under which key the application kept the id
    of who is signed in; a session without it is carried over as an anonymous visitor's.
    Take the call out again when the old sessions have expired. Raises `SettingsError`.
    """
    manager = app[SESSIONS]
    settings = manager.settings
    try:
        client = redis.asyncio.Redis.from_url(
            redis_url, socket_connect_timeout=settings.redis_dial_timeout, socket_timeout=settings.redis_read_timeout,
            retry=Retry(NoBackoff(), 0), protocol=2,
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(f"carry_over(redis_url=…): {error}; as redis://user:password@host:port/0") from None
    old = OldSessions(manager, client, cookie_name, user_key)

    @web.middleware
    async def carrying(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit = get_visit(request)
        value = read_cookie(request, f"{cookie_name}=")
        if value is not None and visit.frontend.jar.read_value(request)[0] is None:
            await old.carry(value, visit, visit.frontend.notes.of(request))
        return await handler(request)

    async def connection(app: web.Application) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app.middlewares.append(carrying)
    app.cleanup_ctx.append(connection)


@dataclass(frozen=True, slots=True)
class _Old:
    """A session of theirs. `carried_to`: its handle here, where it has given way to a mark."""

    raw: bytes
    user_id: UserId | None
    data: dict[str, Any]
    carried_to: str | None


class OldSessions:
    """The old sessions of one application, and their way into its manager."""

    def __init__(self, manager: SessionManager, client: redis.asyncio.Redis, cookie_name: str, user_key: str) -> None:
        self._manager = manager
        self._redis = client
        self._prefix = f"{cookie_name}_"
        self._user_key = user_key

    async def carry(self, value: str, visit: Visit, notes: Mapping[str, str]) -> None:
        """Make the request's session what the old cookie stands for; it stays an anonymous visitor's where that is nothing."""
        session = visit.session
        try:
            old = await self._find(value)
            if old is None:
                return
            if old.carried_to is not None:
                await self._follow(value, old, session, notes)
            else:
                await self._store(value, old, session, notes)
        except Unavailable as fault:
            session.fail(fault)
            return
        except SessionTooLarge as fault:
            log.warning("session_not_carried_over", reason=fault.detail)
            return
        visit.reissue = session.is_stored

    async def _find(self, value: str) -> _Old | None:
        if not _PLAUSIBLE.fullmatch(value):
            return None
        try:
            raw = await self._ask(self._redis.get(self._prefix + value))
        except ResponseError:  # not a text: none of theirs
            return None
        return None if raw is None else self._read(raw)

    def _read(self, raw: bytes) -> _Old | None:
        """`{"created": …, "session": {…}}`, or our mark; anything else is none of theirs."""
        try:
            document = msgspec.json.decode(raw)
            if set(document) == _MEMBERS:
                return _Old(raw, user_id_of(document["user"]), {}, str(document["carried_to"]))
            data = document["session"]
            user_id = data.get(self._user_key)
            user_key(user_id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError):
            log.warning("session_not_carried_over", reason="it is not what aiohttp-session writes")
            return None
        return _Old(raw, user_id, data, None) if data else None

    async def _store(self, value: str, old: _Old, session: Session, notes: Mapping[str, str]) -> None:
        """Store it here, then mark it there. Raises `StoreUnavailable`, `DatabaseUnavailable`, `SessionTooLarge`."""
        stores = self._manager.stores
        cookie = self._cookie(self._manager.ring.derive_tokens(self._prefix + value)[0], old.user_id)
        fields: dict[str, Argument] = {f"{DATA_PREFIX}{key}": encode_value(key, each) for key, each in old.data.items()}
        stores.store.check_data(fields)
        if old.user_id is not None:
            fields |= {"g": cookie.generation, "a": cookie.auth_time, **pack(notes)}
        found, reason, is_new = await stores.restore.store_unless_ended(cookie, cookie.renewed_ms, lambda: fields)
        if found is not None and not await self._mark(value, old, cookie, found) and is_new and not stores.honour.is_kept:
            # Another request has carried it over, and that session has ended since; there is no journal to know it.
            await stores.store.end_at_once(cookie.address)
            found, reason = None, "logout"
        if found is None:
            session.ended = reason
            await self._ask(self._redis.delete(self._prefix + value))
            return
        session.fill(cookie, found)
        if is_new:
            security_event("carried_over", session=session.handle, user_id=old.user_id, address=notes.get("ip_address", ""))

    async def _mark(self, value: str, old: _Old, cookie: Cookie, found: Fields) -> bool:
        """Let the old key give way; whether it leads to this very session, whoever has put the mark."""
        mark = msgspec.json.encode({"user": cookie.user, "carried_to": cookie.handle, "created": int(found[b"c"])})
        return await self._ask(self._redis.eval(_MARK, 1, self._prefix + value, old.raw, mark, MARK_SECONDS)) == mark  # type: ignore[no-any-return]

    async def _follow(self, value: str, old: _Old, session: Session, notes: Mapping[str, str]) -> None:
        for token in self._manager.ring.derive_tokens(self._prefix + value):
            if handle_of(token) == old.carried_to:
                await self._manager.stores.loading.fill(session, self._cookie(token, old.user_id), lambda: notes)
                return

    def _cookie(self, token: bytes, user_id: UserId | None) -> Cookie:
        """As if it had been sealed now; nobody has just given a password, and no generation was before the first."""
        settings, now = self._manager.settings, self._manager.clock.now_ms()
        return Cookie(
            token, user_id, generation=0, auth_time=0, deadline=now + settings.session_absolute_max_age * 1000,
            idle_ms=settings.session_max_age * 1000, issued_at=now, is_persistent=False,
            address=Address(user_key(user_id), handle_of(token)), renewed_ms=now,
        )  # fmt: skip

    @staticmethod
    async def _ask(command: Any) -> Any:
        """Raises `StoreUnavailable`, and `ResponseError` where the key is of another kind."""
        try:
            return await command
        except ResponseError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the Redis of the old sessions does not answer: {type(error).__name__}") from None
