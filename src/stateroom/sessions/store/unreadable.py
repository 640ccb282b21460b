"""Keys under our prefix that hold something else: a session there counts as missing, an index as empty.

Nobody but us should write there. If somebody does, or a disk spoils a value, one session must not make an error of every
list and every sweep that meets it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import ResponseError

from ...logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")


def is_of_another_type(error: ResponseError, key: str) -> bool:
    """Whether the server said that the key holds another type than its command is for. Then it is logged."""
    if not str(error).startswith("WRONGTYPE"):
        return False
    log.warning("store_key_of_another_type", key=key, fix="delete it: nothing else may be written under REDIS_KEY_PREFIX")
    return True


async def unless_of_another_type(reply: Awaitable[T], key: str, instead: T) -> T:
    """Await a reply; if the key holds another type, it is `instead`."""
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
