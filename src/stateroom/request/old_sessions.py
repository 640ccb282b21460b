"""Sessions as aiohttp-session's `RedisStorage` stores them, and the redirect that an old key becomes.

Once an old session has become one here, its key holds a redirect for a minute: it leads the remaining requests of a
browser to the new session, and tells nothing but which session that is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..errors import SettingsError, StoreUnavailable
from ..logs import get_logger
from ..sessions.model.identity import UserId, user_id_of, user_key

if TYPE_CHECKING:
    from ..sessions.adoption import Adopted
    from ..settings import Settings

log = get_logger(__name__)

REDIRECT_SECONDS = 60
"""For requests that left before the browser had the new cookie."""

_PLAUSIBLE = re.compile(r"[A-Za-z0-9._~=-]{1,200}")
_REPLACE = """
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""
_MEMBERS = {"user", "carried_to", "created"}


@dataclass(frozen=True, slots=True)
class OldSession:
    """`raw`: what the key holds. `carried_to`: the handle of the session here, if the key holds a redirect."""

    raw: bytes
    user_id: UserId | None
    data: dict[str, Any]
    carried_to: str | None


class OldSessions:
    """The old sessions of one application. `id_key`: under which key the application kept the id of the signed-in user.

    Each call raises `StoreUnavailable`. The constructor raises `SettingsError`.
    """

    def __init__(self, settings: Settings, *, redis_url: str, cookie_name: str, id_key: str) -> None:
        try:
            self._redis = redis.asyncio.Redis.from_url(
                redis_url, socket_connect_timeout=settings.redis_dial_timeout, socket_timeout=settings.redis_read_timeout,
                retry=Retry(NoBackoff(), 0), protocol=2,
            )  # fmt: skip
        except ValueError as error:
            raise SettingsError(f"carry_over(redis_url=…): {error}; write it as redis://user:password@host:port/0") from None
        self._prefix = f"{cookie_name}_"
        self._id_key = id_key

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def secret(self, value: str) -> str:
        """What nobody but the owner of this cookie value knows: the old session's key."""
        return self._prefix + value

    async def find(self, value: str) -> OldSession | None:
        """The session of an old cookie's value; None if there is none, or it is not what aiohttp-session writes."""
        if not _PLAUSIBLE.fullmatch(value):
            return None
        try:
            raw = await _ask(self._redis.get(self.secret(value)))
        except ResponseError:  # a key of another kind
            return None
        return None if raw is None else self._read(raw)

    async def redirect(self, value: str, old: OldSession, adopted: Adopted) -> bool:
        """Replace the old session by a redirect. Whether the key now leads to this very session.

        Another request may have written the redirect.
        """
        ref = adopted.ref
        mark = msgspec.json.encode({"user": ref.user, "carried_to": ref.handle, "created": adopted.created_ms})
        return await _ask(self._redis.eval(_REPLACE, 1, self.secret(value), old.raw, mark, REDIRECT_SECONDS)) == mark  # type: ignore[no-any-return]

    async def delete(self, value: str) -> None:
        """The old session has ended."""
        await _ask(self._redis.delete(self.secret(value)))

    def _read(self, raw: bytes) -> OldSession | None:
        """`{"created": …, "session": {…}}`, or our redirect."""
        try:
            document = msgspec.json.decode(raw)
            if set(document) == _MEMBERS:
                return OldSession(raw, user_id_of(document["user"]), {}, str(document["carried_to"]))
            data = document["session"]
            user_id = data.get(self._id_key)
            user_key(user_id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError):
            log.warning("session_not_carried_over", reason="it is not what aiohttp-session writes")
            return None
        return OldSession(raw, user_id, data, None) if data else None


async def _ask(command: Any) -> Any:
    """Raises `StoreUnavailable`, and `ResponseError` if the key is of another kind."""
    try:
        return await command
    except ResponseError:
        raise
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"the Redis of the old sessions does not answer: {type(error).__name__}") from None
