"""A user's sessions in pages, newest first, by the user's index.

The place where a page ended is the last session's time and handle, not a rank: sessions that end or begin between two
pages move the ranks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.client import RedisClient
from ...backend.own_keys import unless_of_another_type

PAGE = 1000
"""How many entries of an index are read with one command."""


class Position(NamedTuple):
    """A session's place in the order: handle, and when it was created, milliseconds since the epoch."""

    handle: str
    created_ms: int


async def handles_page(client: RedisClient, key: str, before: Position | None, limit: int) -> list[Position]:
    """The next sessions of a user's index, newest first; empty if there are no more. Of one millisecond, by handle, descending."""
    highest = "+inf" if before is None else str(before.created_ms)
    skipped = 0
    while True:
        # Not ZREVRANGEBYSCORE, which an ACL user of the releases before may not call (deploy/users.acl).
        command = ("ZRANGE", key, highest, "-inf", "BYSCORE", "REV", "LIMIT", skipped, limit, "WITHSCORES")
        reply = await unless_of_another_type(client.execute(key, *command), key, [])
        page = [Position(handle.decode(errors="replace"), int(float(score))) for handle, score in _pairs(reply)]
        after = [each for each in page if before is None or (each.created_ms, each.handle) < (before.created_ms, before.handle)]
        if after or len(page) < limit:
            return after
        skipped += len(page)  # a page full of sessions of that one millisecond, which came before


def _pairs(reply: list[Any]) -> list[tuple[bytes, bytes]]:
    """Members and scores. RESP3 sends a list of pairs, RESP2 one flat list."""
    if reply and isinstance(reply[0], list | tuple):
        return [(member, score) for member, score in reply]
    each = iter(reply)
    return list(zip(each, each, strict=True))
