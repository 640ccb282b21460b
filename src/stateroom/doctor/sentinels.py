"""Asks each Sentinel for the primary, the epoch of its configuration, and the servers and Sentinels that it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ..backend.info import parse_info
from ..backend.one_sentinel import fields_of
from ..settings import Address
from .findings import Finding, fault, warning
from .reach import Connector, Unreached

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Fields = Mapping[str, str]


@dataclass(slots=True)
class Sentinel:
    """The replies of one Sentinel.

    `reached`: how it was reached, in words. `id`: empty if our user may not ask for it. `primary`: the address that it names.
    `state`, `replicas`, `others`: its replies to SENTINEL MASTER, REPLICAS and SENTINELS (https://valkey.io/topics/sentinel/).
    `quorum`: its reply to SENTINEL CKQUORUM; it begins with "OK" if it can take part in a failover. `is_tilted`: it is in
    TILT mode. `lacks`: what our user may not do, in words.
    """

    address: Address
    reached: str
    id: str
    primary: Address
    state: Fields
    replicas: list[Fields] = field(default_factory=list)
    others: list[Fields] = field(default_factory=list)
    quorum: str = ""
    is_tilted: bool = False
    lacks: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"Sentinel {self.address}"

    @property
    def epoch(self) -> int:
        """The epoch of its configuration: each failover has a higher one."""
        return int(self.state["config-epoch"])

    @property
    def count(self) -> int:
        """How many Sentinels it knows, itself included."""
        return self.number("num-other-sentinels") + 1

    def about(self, address: Address) -> list[Fields]:
        """What it says about the server at this address. The list is empty if it does not know the server."""
        return [
            said for said in (self.state, *self.replicas) if (said.get("ip"), said.get("port")) == (address.host, str(address.port))
        ]

    def number(self, name: str) -> int:
        """A whole number from `state`; 0 if it is missing."""
        return int(self.state.get(name, 0))


async def look_at_all(connector: Connector, addresses: Sequence[Address], service: str) -> list[Sentinel | Finding]:
    """Ask all at the same time. The result has the order of `addresses`.

    A Sentinel that does not answer, or does not know the primary, gets a finding with the reason.
    """
    return list(await asyncio.gather(*(_look(connector, address, service) for address in addresses)))


async def _look(connector: Connector, address: Address, service: str) -> Sentinel | Finding:
    where = f"Sentinel {address}"
    try:
        async with connector.connect(address) as connection:
            return await _ask(connector, connection, address, service)
    except Unreached as why:
        return connector.unreached(where, why)


async def _ask(connector: Connector, connection: AbstractConnection, address: Address, service: str) -> Sentinel | Finding:
    where = f"Sentinel {address}"
    named, state, replicas, others, quorum, own_id, all_known, info = await connector.ask(
        connection,
        *(("SENTINEL", word, service) for word in ("GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS", "CKQUORUM")),
        ("SENTINEL", "MYID"), ("SENTINEL", "MASTERS"), ("INFO",),
    )  # fmt: skip
    if isinstance(state, Exception) and "permission" in str(state):
        return fault(
            "sentinel-rights", where, f"user {connector.user} may not run SENTINEL: {state}",
            "give that user +sentinel +subscribe +hello +ping and the channel +switch-master (&*) on every Sentinel",
        )  # fmt: skip
    if isinstance(state, Exception) or not named or isinstance(named, Exception):
        return _knows_no_such_name(where, service, state, all_known)
    sentinel = Sentinel(
        address,
        connector.describe(address),
        "" if isinstance(own_id, Exception) else own_id.decode(),
        Address(named[0].decode(), int(named[1])),
        _decoded(state),
        [_decoded(each) for each in _listed(replicas)],
        [_decoded(each) for each in _listed(others)],
        str(quorum) if isinstance(quorum, Exception) else quorum.decode(),
    )
    if isinstance(info, (bytes, str)):
        sentinel.is_tilted = parse_info(info).get("sentinel_tilt") == "1"
    try:
        await connection.send_command("SUBSCRIBE", "+switch-master", check_health=False)
        await connection.read_response(push_request=True)
    except RedisError as error:
        if "permission" not in str(error):
            raise
        sentinel.lacks.append("SUBSCRIBE to +switch-master")
    return sentinel


def _knows_no_such_name(where: str, service: str, state: Any, all_known: Any) -> Finding:
    if isinstance(state, Exception) and "No such master" not in str(state):
        return fault("sentinel-unreachable", where, f"it replies {state}", "check that a Sentinel runs there, not a server")
    names = [_decoded(each).get("name", "?") for each in _listed(all_known)]
    knows = f"it knows {', '.join(names)}" if names else "it watches no primary"
    return fault(
        "master-name", where, f"it does not know {service}: {knows}",
        "set REDIS_MASTER_NAME to the name in its `sentinel monitor` line",
    )  # fmt: skip


def _listed(reply: Any) -> list[Any]:
    """The items of a reply. In RESP3 the reply to SENTINEL MASTERS is a map by name."""
    if isinstance(reply, Exception) or not reply:
        return []
    return list(reply.values()) if isinstance(reply, dict) else list(reply)


def _decoded(fields: Any) -> Fields:
    return {name.decode(): value.decode() for name, value in fields_of(fields).items()}


def describe(sentinel: Sentinel) -> str:
    """The text of the line for a Sentinel that replies."""
    return f"reached ({sentinel.reached}); epoch {sentinel.epoch}, names {sentinel.primary}"


def judge_alone(sentinel: Sentinel) -> Iterator[Finding]:
    """Judge one Sentinel without the others."""
    if sentinel.lacks:
        yield fault(
            "sentinel-rights",
            sentinel.where,
            f"the service's user may not {', '.join(sentinel.lacks)}, so the service notices failovers late",
            "give that user +subscribe and the channel +switch-master (&*) on every Sentinel",
        )
    if sentinel.is_tilted:
        yield warning(
            "tilt",
            sentinel.where,
            "it is in TILT mode, because its clock jumped or its machine stalled; it starts no failover for 30 s",
            "find out what stalled that machine, and check its clock",
        )
