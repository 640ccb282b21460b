"""Keys under our prefix that hold another type or unreadable values: such a key counts as missing.

Only Stateroom should write there. If another program does, or a disk damages a value, one bad key must not break every step
that reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import ResponseError

from ..logs import get_logger

if TYPE_CHECKING:
    from .client import RedisClient

log = get_logger(__name__)

T = TypeVar("T")

_REPLACED = "none needed, Stateroom replaces it; find out who wrote it: only Stateroom may write under REDIS_KEY_PREFIX"
_LEFT = "delete the key: only Stateroom may write under REDIS_KEY_PREFIX"


def log_another_type(key: str, *, is_replaced: bool) -> None:
    """Log that a key holds another type. `is_replaced`: Stateroom deletes it or writes it again."""
    log.warning("store_key_of_another_type", key=key, fix=_REPLACED if is_replaced else _LEFT)


def log_unreadable(key: str) -> None:
    """Log that a key holds a value that cannot be read. Stateroom deletes it or writes it again."""
    log.warning("store_value_unreadable", key=key, fix=_REPLACED)


def is_of_another_type(error: ResponseError, key: str, *, is_replaced: bool = False) -> bool:
    """Whether the error says that the key holds another type than the command needs. If so, this logs it."""
    if not str(error).startswith("WRONGTYPE"):
        return False
    log_another_type(key, is_replaced=is_replaced)
    return True


async def unless_of_another_type(reply: Awaitable[T], key: str, instead: T) -> T:
    """Await a reply; if the key holds another type, log it and return `instead`."""
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
        if not is_of_another_type(error, key, is_replaced=True):
            raise
        await client.execute(key, "DEL", key)
        return None
    return value


async def text_of(client: RedisClient, key: str) -> str | None:
    """`value_of` as text. A value that is not UTF-8 is deleted too: it is a missing one."""
    value = await value_of(client, key)
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        log_unreadable(key)
        await client.execute(key, "DEL", key)
        return None


def number_in(value: bytes | None, key: str) -> int | None:
    """The number that a value says; None, and a log line, if it says none."""
    try:
        return None if value is None else int(value)
    except ValueError:
        log_unreadable(key)
        return None
