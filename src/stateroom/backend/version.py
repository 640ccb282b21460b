"""Servers that are too old. Redis 7.0 is the first with scripts that begin with `#!`:
https://redis.io/docs/latest/develop/programmability/eval-intro/#eval-flags

Such a script says by its flags that it may run on a full server. Older servers cannot compile it, so nobody could sign out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from .info import parse_info

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

OLDEST = (7, 0)
"""The oldest version of Redis that works. Valkey names the version of Redis that it began as, which is newer."""
TOO_OLD = "is too old, because it cannot run the scripts of the service"
TOO_OLD_FIX = "upgrade it to Redis 7.0 or later, or to Valkey"


def version_of(info: Mapping[str, str]) -> tuple[int, ...]:
    """Major and minor number; empty if the server does not name its version."""
    numbers = info.get("redis_version", "").split(".")
    return tuple(int(number) for number in numbers[:2] if number.isdecimal())


async def too_old(reply: Awaitable[bytes | str]) -> str | None:
    """The version of a server that is too old, from its reply to `INFO server`; None if it is not, or if it refuses INFO."""
    try:
        info = parse_info(await reply)
    except ResponseError:
        return None
    known = version_of(info)
    return info["redis_version"] if known and known < OLDEST else None


def cannot_compile(words: str) -> bool:
    """Whether an error reply with these words says that the server does not understand a script."""
    return "Error compiling script" in words
