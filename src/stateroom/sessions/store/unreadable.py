"""Keys under our prefix that hold another type or unreadable values. A session there counts as missing, an index as empty.

Only Stateroom should write there. If another program does, or a disk damages a value, one bad session must not break every
list and every sweep that reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import ResponseError

from ...logs import get_logger

if TYPE_CHECKING:
    from ...backend.client import RedisClient

log = get_logger(__name__)

T = TypeVar("T")


_DELETED = "none needed, Stateroom replaces it; find out who wrote it: only Stateroom may write under REDIS_KEY_PREFIX"


def is_of_another_type(error: ResponseError, key: str, *, is_deleted: bool = False) -> bool:
    """Whether the error says that the key holds another type than the command needs. If so, this logs it."""
    if not str(error).startswith("WRONGTYPE"):
        return False
    fix = _DELETED if is_deleted else "delete the key: only Stateroom may write under REDIS_KEY_PREFIX"
    log.warning("store_key_of_another_type", key=key, fix=fix)
    return True


async def unless_of_another_type(reply: Awaitable[T], key: str, instead: T) -> T:
    """Await a reply; if the key holds another type, return `instead`."""
    try:
        return await reply
    except ResponseError as error:
        if is_of_another_type(error, key):
            return instead
        raise


async def value_of(client: RedisClient, key: str) -> bytes | None:
    """The value of one of our own strings, which only Stateroom writes. A key of another type is deleted: it is a missing one.

    Otherwise each step that needs the value would fail again each second. Raises `StoreUnavailable`.
    """
    try:
        value: bytes | None = await client.execute(key, "GET", key)
    except ResponseError as error:
        if not is_of_another_type(error, key, is_deleted=True):
            raise
        await client.execute(key, "DEL", key)
        return None
    return value


def number_in(value: bytes | None, key: str) -> int | None:
    """The number that a value says; None, and a log line, if it says none."""
    try:
        return None if value is None else int(value)
    except ValueError:
        log.warning("store_value_unreadable", key=key, fix=_DELETED)
        return None


def index_member(member: bytes) -> tuple[str, int, str] | None:
    """Handle, time of creation and user key of an entry of an expiry index; None, and a log line, if it is none."""
    try:
        handle, created, user = member.decode().split(":", 2)
        return handle, int(created), user
    except ValueError:
        log.warning("index_entry_unreadable", member=member)
        return None
