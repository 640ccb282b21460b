"""Asks one server everything that the doctor needs, over a connection like the service's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import TimeoutError as RedisTimeoutError

from ..backend.client import as_mapping
from ..backend.info import parse_info
from . import clocks
from .findings import Finding, fault
from .reach import Connector, Unreached
from .rights import Needs, judge_rights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.connection import AbstractConnection

    from ..backend.client import Command
    from ..settings import Address

CONFIGURED = (
    "appendfsync", "save", "min-replicas-to-write", "min-replicas-max-lag", "masterauth", "masteruser", "replica-priority",
    "stop-writes-on-bgsave-error", "cluster-allow-reads-when-down",
)  # fmt: skip
"""Settings that INFO does not show. `masterauth` is compared, never printed."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as its primary lists it.

    `lag`: seconds since its last report; None if it is not linked. `behind`: bytes that it lacked then, `0 <= behind`.
    """

    address: str
    lag: int | None
    behind: int


@dataclass(slots=True)
class Server:
    """The replies of one server.

    `reached`: how it was reached, in words. `info`: empty if the user may not run INFO. `is_primary`: None if neither ROLE
    nor INFO gave a reply. `config`: None if no user may run CONFIG GET. `ahead`: how many seconds its clock is ahead of this
    host's; None if the user may not run TIME. `found`: the replies to GET, by key.
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
        """A whole number from INFO; `default` if it is missing."""
        text = self.info.get(name, "")
        return int(text) if text.lstrip("-").isdecimal() else default

    @property
    def mode(self) -> str:
        """`standalone`, `sentinel` or `cluster`. Redis and Valkey give the field different names."""
        return self.info.get("redis_mode") or self.info.get("server_mode", "standalone")

    @property
    def version(self) -> str:
        """The product and its version, in words."""
        if "valkey_version" in self.info:
            return f"Valkey {self.info['valkey_version']}"
        return f"Redis {self.info.get('redis_version', 'of an unknown version')}"

    @property
    def replicas(self) -> list[Replica]:
        """The replicas that INFO lists. A line reads `slave0:ip=10.0.0.2,port=6379,state=online,offset=7,lag=0`."""
        found = []
        for number in range(self.number("connected_slaves")):
            fields = dict(part.split("=", 1) for part in self.info.get(f"slave{number}", "").split(",") if "=" in part)
            if fields:
                lag = int(fields["lag"]) if fields.get("state") == "online" else None
                behind = max(0, self.number("master_repl_offset") - int(fields.get("offset", 0)))
                found.append(Replica(f"{fields['ip']}:{fields['port']}", lag, behind))
        return found


async def look_at(
    connector: Connector,
    where: str,
    address: Address | None,
    *,
    admin: Connector | None,
    keys: Sequence[str] = (),
    is_cluster: bool = False,
) -> Server:
    """Ask one server. `admin` connects as a user who may run CONFIG GET. Raises `Unreached`."""
    async with connector.connect(address) as connection:
        server = Server(where, address, connector.describe(address))
        needs = Needs.of(connector.settings, is_cluster=is_cluster)
        *trials, script = needs.trials
        may = await _ask(connector, connection, server, keys, needs)
        tried = await connector.ask(connection, *trials)
        server.config = await _config(connector, connection)
        server.ahead = await clocks.offset(lambda: _one(connector, connection, ("TIME",)))
        try:
            tried.append(await _one(connector, connection, script))
        except (TimeoutError, RedisTimeoutError):
            tried.append(None)
            async with connector.connect(address):  # It still answers, so it does not hang.
                server.rights.append(_holds_writes_back(where))
        server.rights += judge_rights(where, connector.user, needs, may, tried)
    if server.config is None and admin is not None:
        try:
            async with admin.connect(address) as connection:
                server.config = await _config(admin, connection)
        except Unreached as why:
            raise Unreached(why.cause, f"as {admin.user}: {why.what}", "correct --admin and its password") from why
    return server


def _holds_writes_back(where: str) -> Finding:
    what = (
        "it answers reads, but holds writes back (CLIENT PAUSE WRITE, or a failover), so sign-ins are degraded, and requests that "
        "save data get 503"
    )
    fix = "wait for the end of the pause; if it lasts, run CLIENT UNPAUSE as an administrator of Redis"
    return fault("writes-held", where, what, fix)


async def _ask(connector: Connector, connection: AbstractConnection, server: Server, keys: Sequence[str], needs: Needs) -> Any:
    """Returns the reply to the question about rights."""
    info, role, rights, *found = await connector.ask(
        connection, ("INFO",), ("ROLE",), needs.question, *(("GET", key) for key in keys)
    )
    if isinstance(info, (bytes, str)):
        server.info = parse_info(info)
    if isinstance(role, list):
        server.is_primary = role[0] == b"master"
    elif server.info:
        server.is_primary = server.info.get("role") == "master"
    server.found = dict(zip(keys, found, strict=True))
    return rights


async def _config(connector: Connector, connection: AbstractConnection) -> Mapping[str, str] | None:
    reply = await _one(connector, connection, ("CONFIG", "GET", *CONFIGURED))
    if isinstance(reply, Exception):
        return None
    return {name.decode(): value.decode() for name, value in as_mapping(reply).items()}


async def _one(connector: Connector, connection: AbstractConnection, command: Command) -> Any:
    return (await connector.ask(connection, command))[0]
