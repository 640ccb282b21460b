"""One server: what it is asked, in one go, over the connection that the service would use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..backend.info import parse_info
from . import clocks
from .findings import Finding
from .reach import Road, Unreached
from .rights import judge_rights, needed, question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.connection import AbstractConnection

    from ..backend.client import Command
    from ..settings import Address

CONFIGURED = (
    "appendfsync", "save", "min-replicas-to-write", "min-replicas-max-lag", "masterauth", "masteruser", "replica-priority",
    "stop-writes-on-bgsave-error",
)  # fmt: skip
"""What INFO does not tell. `masterauth` is compared, never shown."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as its primary sees it: `behind` bytes by what it last said, `lag` seconds ago; None where it is not linked."""

    address: str
    lag: int | None
    behind: int


@dataclass(slots=True)
class Server:
    """What one server said. `info` is empty where the user may not ask INFO; `config` None where nobody may CONFIG GET.

    `ahead`: seconds that its clock is ahead of this host's. `found`: keys that were asked for, by name.
    """

    where: str
    address: Address | None
    reached: str
    info: Mapping[str, str] = field(default_factory=dict)
    is_primary: bool | None = None
    config: Mapping[str, str] | None = None
    ahead: float | None = None
    rights: list[Finding] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: int = 0) -> int:
        """A whole number of INFO."""
        text = self.info.get(name, "")
        return int(text) if text.lstrip("-").isdecimal() else default

    @property
    def mode(self) -> str:
        """Standalone, sentinel or cluster: Redis and Valkey name the field differently."""
        return self.info.get("redis_mode") or self.info.get("server_mode", "standalone")

    @property
    def version(self) -> str:
        if "valkey_version" in self.info:
            return f"Valkey {self.info['valkey_version']}"
        return f"Redis {self.info.get('redis_version', 'of an unknown version')}"

    @property
    def replicas(self) -> list[Replica]:
        """Those that are connected to it, in its own words: `slave0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=0`."""
        found = []
        for number in range(self.number("connected_slaves")):
            said = dict(part.split("=", 1) for part in self.info.get(f"slave{number}", "").split(",") if "=" in part)
            if said:
                lag = int(said["lag"]) if said.get("state") == "online" else None
                behind = max(0, self.number("master_repl_offset") - int(said.get("offset", 0)))
                found.append(Replica(f"{said['ip']}:{said['port']}", lag, behind))
        return found


async def look_at(
    road: Road, where: str, address: Address | None, *, admin: Road | None, keys: Sequence[str] = (), is_cluster: bool = False
) -> Server:
    """Ask one server. `admin` is asked for what the service's user may not see. Raises `Unreached`."""
    async with road.to(address) as connection:
        server = Server(where, address, road.says(address))
        await _ask(road, connection, server, keys, is_cluster=is_cluster)
        server.config = await _config(road, connection)
        server.ahead = await clocks.offset(lambda: _one(road, connection, ("TIME",)))
    if server.config is None and admin is not None:
        try:
            async with admin.to(address) as connection:
                server.config = await _config(admin, connection)
        except Unreached as fault:
            raise Unreached(fault.cause, f"as {admin.user}: {fault.what}", "correct --admin and its password") from fault
    return server


async def _ask(road: Road, connection: AbstractConnection, server: Server, keys: Sequence[str], *, is_cluster: bool) -> None:
    prefix = road.settings.redis_key_prefix
    calls = needed(prefix, is_cluster=is_cluster, has_near_cache=road.settings.session_cache_max_age > 0)
    info, role, rights, *found = await road.ask(connection, ("INFO",), ("ROLE",), question(calls), *(("GET", key) for key in keys))
    if isinstance(info, (bytes, str)):
        server.info = parse_info(info)
    if isinstance(role, list):
        server.is_primary = role[0] == b"master"
    elif server.info:
        server.is_primary = server.info.get("role") == "master"
    server.rights = judge_rights(server.where, road.user, prefix, calls, rights)
    server.found = dict(zip(keys, found, strict=True))


async def _config(road: Road, connection: AbstractConnection) -> Mapping[str, str] | None:
    reply = await _one(road, connection, ("CONFIG", "GET", *CONFIGURED))
    if not isinstance(reply, dict):
        return None
    return {name.decode(): value.decode() for name, value in reply.items()}


async def _one(road: Road, connection: AbstractConnection, command: Command) -> Any:
    return (await road.ask(connection, command))[0]
