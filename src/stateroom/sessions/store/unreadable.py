"""Keys under our prefix that hold another type or unreadable values. A session there counts as missing, an index as empty.

Only Stateroom should write there. If another program does, or a disk damages a value, one bad session must not break every
list and every sweep that reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import ResponseError

from ...logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")


def is_of_another_type(error: ResponseError, key: str) -> bool:
    """Whether the error says that the key holds another type than the command needs. If so, this logs it."""
    if not str(error).startswith("WRONGTYPE"):
        return False
    log.warning("store_key_of_another_type", key=key, fix="delete the key: only Stateroom may write under REDIS_KEY_PREFIX")
    return True


async def unless_of_another_type(reply: Awaitable[T], key: str, instead: T) -> T:
    """Await a reply; if the key holds another type, return `instead`."""
    try:
        return await reply
    except ResponseError as error:
        if is_of_another_type(error, key):
            return instead
        raise


def index_member(member: bytes) -> tuple[str, int, str] | None:
    """Handle, time of creation and user key of an entry of an expiry index; None, and a log line, if it is none."""
    try:
        handle, created, user = member.decode().split(":", 2)
        return handle, int(created), user
    except ValueError:
        log.warning("index_entry_unreadable", member=member)
        return None
