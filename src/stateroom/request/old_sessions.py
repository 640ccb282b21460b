"""Sessions as aiohttp-session's `RedisStorage` stores them, and the redirect that an old key becomes.

Once an old session was carried over, its key holds a redirect for a minute. The redirect leads the remaining requests of a
browser to the new session. It contains only that session's public handle.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ..errors import SettingsError, StoreUnavailable
from ..insides.of_redis import use_sockets
from ..logs import get_logger
from ..network.sockets import OPENER
from ..sessions.model.identity import UserId, user_id_of, user_key

if TYPE_CHECKING:
    from ..sessions.adoption import Adopted
    from ..settings import Settings

log = get_logger(__name__)

REDIRECT_SECONDS = 60
"""For requests that left before the browser had the new cookie."""

MAX_LENGTH = 4096
"""Of a cookie's value: browsers keep no longer one (RFC 6265, 6.1)."""

_REPLACE = """
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""
_MEMBERS = {"user", "carried_to", "created"}


@dataclass(frozen=True, slots=True)
class OldSession:
    """`raw`: what the key holds. `carried_to`: the handle of the session here, if the key holds a redirect.

    `fault`: why the user id is none, though there is a value under its key.
    """

    raw: bytes
    user_id: UserId | None
    data: dict[str, Any]
    carried_to: str | None = None
    fault: str | None = None


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
        use_sockets(self._redis, OPENER.open)
        if self._redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise SettingsError("carry_over(redis_url=…): decode_responses changes what was stored; leave it out of the URL")
        self._prefix = f"{cookie_name}_"
        self._id_key = id_key
        self._ours = f"{settings.redis_key_prefix}:"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def secret(self, value: str) -> str:
        """The old session's key. Only the owner of this cookie value knows it."""
        return self._prefix + value

    async def find(self, value: str) -> OldSession | None:
        """The session of an old cookie's value; None if there is none, or it is not what aiohttp-session writes.

        A `key_factory` may have made any text. The client chooses it, so it must not lead to keys of ours.
        """
        key = self.secret(value)
        if not 0 < len(value) <= MAX_LENGTH or not _is_unicode(value) or key.startswith(self._ours):
            return None
        try:
            raw = await _ask(self._redis.get(key))
        except _WrongKindOfKey:
            return _not_carried_over("the key holds no text")
        return None if raw is None else self._read(raw)

    async def redirect(self, value: str, old: OldSession, adopted: Adopted) -> bool:
        """Replace the old session by a redirect. Whether the key now leads to this very session.

        Another request may have written the redirect.
        """
        ref = adopted.ref
        mark = msgspec.json.encode({"user": ref.user, "carried_to": ref.handle, "created": adopted.created_ms})
        try:
            holds = await _ask(self._redis.eval(_REPLACE, 1, self.secret(value), old.raw, mark, REDIRECT_SECONDS))
        except _WrongKindOfKey:
            return False
        return bool(holds == mark)

    async def delete(self, value: str) -> None:
        """The old session has ended."""
        await _ask(self._redis.delete(self.secret(value)))

    def _read(self, raw: bytes) -> OldSession | None:
        """`{"created": …, "session": {…}}`, or our redirect.

        Python's `json` wrote it, which also writes what JSON does not have: NaN, infinity, lone surrogates.
        """
        try:
            document = json.loads(raw.decode())
        except (ValueError, RecursionError):
            return _not_carried_over("it is not JSON; sessions of a custom encoder cannot be carried over")
        if not isinstance(document, dict):
            return _not_carried_over("it is not what aiohttp-session writes")
        if set(document) == _MEMBERS:
            return _read_redirect(raw, document)
        data = document.get("session", {})
        if not isinstance(data, dict):
            return _not_carried_over("it is not what aiohttp-session writes")
        if not data:  # so it leaves a session that was invalidated
            return None
        user_id = data.get(self._id_key)
        try:
            user_key(user_id)
        except (TypeError, ValueError) as error:
            return OldSession(raw, None, data, fault=str(error))
        return OldSession(raw, user_id, data)


def _read_redirect(raw: bytes, document: dict[str, Any]) -> OldSession | None:
    user, handle, user_id = document["user"], document["carried_to"], None
    try:
        user_id = user_id_of(user)
        is_ours = user_key(user_id) == user and isinstance(handle, str)
    except (TypeError, ValueError, LookupError):
        is_ours = False
    return OldSession(raw, user_id, {}, handle) if is_ours else _not_carried_over("its redirect was not written here")


def _not_carried_over(reason: str) -> OldSession | None:
    log.warning("session_not_carried_over", reason=reason)
    return None


def _is_unicode(text: str) -> bool:
    """Whether Redis can be asked for it: bytes in a header that are no UTF-8 become lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _WrongKindOfKey(Exception):
    """The key holds something else than a text: a list, a hash."""


async def _ask(command: Any) -> Any:
    """Raises `StoreUnavailable`, and `_WrongKindOfKey`.

    Every other refusal says nothing of the session: a replica that is read-only, missing rights, a Cluster's redirection.
    """
    try:
        return await command
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
            raise _WrongKindOfKey from None
        raise StoreUnavailable(f"the Redis of the old sessions cannot be used: {type(error).__name__}") from None
