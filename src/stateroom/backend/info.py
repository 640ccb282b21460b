"""Asks the primaries for their figures with INFO: https://valkey.io/commands/info/."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .client import RedisClient


@dataclass(frozen=True, slots=True)
class PrimariesInfo:
    """Figures of all primaries together. In a Cluster there are several.

    `evicted_keys`: the sum of all evictions since each primary started. `memory_used`, `memory_max`: bytes, of the fullest
    primary; `memory_max` is 0 without a limit. `replicas`: the number of the primary that has the fewest.
    """

    evicted_keys: int
    memory_used: int
    memory_max: int
    replicas: int


async def ask_primaries(client: RedisClient) -> PrimariesInfo | None:
    """Ask each primary. None if one of them refuses: its ACL lacks `+info`, or it is a fake server.

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
    """The fields of a reply to INFO."""
    text = reply if isinstance(reply, str) else reply.decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


async def run_id_of(connection: AbstractConnection) -> str:
    """The run id of the server behind a new connection: random, and another one after each restart.

    Empty if the user may not run INFO, or a proxy does not know it. Raises redis-py's errors: `BusyLoadingError` if the server
    still reads its data from disk. Such a server runs INFO, but not PING, nor any command of a session. Both commands are sent
    together, so they take one round trip.
    """
    commands = connection.pack_commands([("INFO", "server"), ("PING",)])
    await connection.send_packed_command(commands, check_health=False)
    try:
        run_id = parse_info(await connection.read_response()).get("run_id", "")
    except ResponseError:
        run_id = ""
    with contextlib.suppress(ResponseError):  # a script runs for too long, or the user may not run PING
        await connection.read_response()
    return run_id
