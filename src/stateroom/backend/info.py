"""What the primaries say of themselves: https://valkey.io/commands/info/."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from .client import RedisClient


@dataclass(frozen=True, slots=True)
class PrimariesInfo:
    """Of all primaries together (in a Cluster there are several).

    `evicted_keys`: since they started, added up. `memory_used`, `memory_max`: bytes, of the fullest; no limit is 0.
    `replicas`: of the one that has fewest.
    """

    evicted_keys: int
    memory_used: int
    memory_max: int
    replicas: int


async def ask_primaries(client: RedisClient) -> PrimariesInfo | None:
    """Ask each primary; None where one does not tell (its access rules lack `+info`, or it is no real server).

    Raises `StoreUnavailable`.
    """
    try:
        replies = await asyncio.gather(*(client.execute(key, "INFO", "memory", "stats", "replication") for key in client.shards()))
    except ResponseError:
        return None
    each = [parse_info(reply) for reply in replies]
    if not each:
        return None
    fullest = max(each, key=lambda info: int(info["used_memory"]) / (int(info["maxmemory"]) or int(info["total_system_memory"])))
    return PrimariesInfo(
        evicted_keys=sum(int(info["evicted_keys"]) for info in each),
        memory_used=int(fullest["used_memory"]),
        memory_max=int(fullest["maxmemory"]),
        replicas=min(int(info["connected_slaves"]) for info in each),
    )


def parse_info(reply: bytes | str) -> dict[str, str]:
    """What INFO answers, by field."""
    text = reply if isinstance(reply, str) else reply.decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
