"""Finds out whether a server runs that this host cannot reach: whether a Sentinel or its primary has heard from it since.

If a server has just died, the Sentinels do not call it down before `down-after-milliseconds`. So only what they heard after
this host had failed to connect proves that the server runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..backend.info import parse_info
from ..settings import Address
from .reach import Connector, Unreached
from .sentinels import Sentinel, look_at_all
from .servers import Replica, Server

if TYPE_CHECKING:
    from ..settings import Settings

PROOF_SECONDS = 5.0
"""A Sentinel pings each server once a second, and a replica reports to its primary once a second."""
ROUND_SECONDS = 0.5
REACHED = "the Sentinels reach it"
REPLICATES = "the server replicates"


async def find_proofs(
    servers: Connector, settings: Settings, sentinels: Sequence[Sentinel], primary: Server | None, unreached: Collection[Address]
) -> dict[Address, str]:
    """For those of the unreached servers that run, the proof in words. Waits for the proof for at most `PROOF_SECONDS`.

    `sentinels`, `primary`: what they said before. `primary` is None if this host does not reach it.
    """
    began, proofs = time.monotonic(), dict[Address, str]()
    to_sentinels = Connector.to_sentinels(settings)
    replicas = [] if primary is None else primary.replicas
    while time.monotonic() < began + PROOF_SECONDS and _candidates(unreached, sentinels, replicas) - proofs.keys():
        await asyncio.sleep(ROUND_SECONDS)
        since = time.monotonic() - began
        answers, replicas = await asyncio.gather(
            look_at_all(to_sentinels, settings.redis_sentinels, settings.redis_master_name), _replicas_of(servers, primary)
        )
        sentinels = [each for each in answers if isinstance(each, Sentinel)]
        for address in unreached:
            if any(_has_reported(replica, since) for replica in replicas if replica.address == f"{address.host}:{address.port}"):
                proofs[address] = REPLICATES
            elif any(_has_heard(sentinel, address, since) for sentinel in sentinels):
                proofs[address] = REACHED
    return proofs


def _candidates(unreached: Collection[Address], sentinels: Sequence[Sentinel], replicas: Sequence[Replica]) -> set[Address]:
    """The servers that somebody does not call down yet."""
    linked = {replica.address for replica in replicas if replica.lag is not None}
    return {
        address
        for address in unreached
        if f"{address.host}:{address.port}" in linked
        or any("down" not in said.get("flags", "") for sentinel in sentinels for said in sentinel.about(address))
    }


def _has_reported(replica: Replica, since: float) -> bool:
    """Redis gives the lag in whole seconds, of times that were rounded down."""
    return replica.lag is not None and replica.lag + 1 < since


def _has_heard(sentinel: Sentinel, address: Address, since: float) -> bool:
    """Whether the server replied to a ping of this Sentinel less than so many seconds ago."""
    return any(
        "down" not in said.get("flags", "") and int(said.get("last-ok-ping-reply", PROOF_SECONDS * 1000)) < since * 1000
        for said in sentinel.about(address)
    )


async def _replicas_of(servers: Connector, primary: Server | None) -> list[Replica]:
    if primary is None:
        return []
    try:
        async with servers.connect(primary.address) as connection:
            [info] = await servers.ask(connection, ("INFO",))
    except Unreached:
        return []
    return Server(primary.where, primary.address, "", {} if isinstance(info, Exception) else parse_info(info)).replicas
