"""The addresses that Sentinels hand out: those of a primary and its replicas, and their own.

Behind NAT, or in containers, a server tells an address that only its own network knows. Nobody notices before the
failover that promotes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import Address
from .findings import Finding, fault, warning
from .quorum import believed_primary
from .reach import Road, Unreached
from .sentinels import Sentinel

if TYPE_CHECKING:
    from .servers import Server


@dataclass(frozen=True, slots=True)
class Known:
    """A server as Sentinels tell of it."""

    address: Address
    flags: str
    is_primary: bool


def servers_told(sentinels: Sequence[Sentinel]) -> dict[Address, str]:
    """Every server that a Sentinel tells of: the primary first, each with the flags that Sentinels gave it."""
    primary = believed_primary(sentinels)
    told: dict[Address, str] = {}
    if primary is not None:
        told[primary] = next(sentinel.state.get("flags", "") for sentinel in sentinels if sentinel.primary == primary)
    for sentinel in sentinels:
        for replica in sentinel.replicas:
            address = Address(replica["ip"], int(replica["port"]))
            if address != primary:
                told.setdefault(address, replica.get("flags", ""))
    return told


def judge_unreached(where: str, known: Known, why: Unreached, primary: Server | None) -> Finding:
    """A server that Sentinels tell of, and that cannot be reached from here by that address."""
    name = f"{known.address.host}:{known.address.port}"
    replicates = primary is not None and any(replica.address == name and replica.lag is not None for replica in primary.replicas)
    if replicates or "down" not in known.flags:
        role = "primary" if known.is_primary else "replica"
        proof = "it replicates all the same" if replicates else "the Sentinels reach it"
        what = f"this address of a {role} leads nowhere from here, though {proof}: {why.what}"
        mend = "set replica-announce-ip and replica-announce-port on it to what this host reaches, or let this host through"
        if why.cause == "silent":
            mend = f"see that it does not hang; {mend}"
        if why.cause == "name":
            mend = "have that name resolve here (DNS, /etc/hosts), or set replica-announce-ip on it to one that does"
        return fault("announced-address", where, what, mend)
    mend = (
        "start it; if it runs, mend its replica-announce-ip and replica-announce-port; if it is gone for good, "
        "SENTINEL RESET on each Sentinel, one after the other"
    )
    return fault("server-unreachable", where, f"{why.what}; the Sentinels don't reach it either", mend)


async def judge_sentinel_addresses(road: Road, sentinels: Sequence[Sentinel], configured: Sequence[Address]) -> list[Finding]:
    """The addresses by which Sentinels know each other, where they are not those of REDIS_SENTINELS."""
    told = {
        Address(other["ip"], int(other["port"]))
        for sentinel in sentinels
        for other in sentinel.others
        if "down" not in other.get("flags", "")
    }
    strange = sorted(told.difference(configured))
    answers = await asyncio.gather(*(_reach(road, address) for address in strange))
    return [_hidden(address, why) for address, why in zip(strange, answers, strict=True) if why is not None]


async def _reach(road: Road, address: Address) -> Unreached | None:
    try:
        async with road.to(address):
            return None
    except Unreached as why:
        return why


def _hidden(address: Address, why: Unreached) -> Finding:
    what = f"the others know a Sentinel by this address, which leads nowhere from here: {why.what}"
    mend = "set `sentinel announce-ip` and `sentinel announce-port` on it to what every host reaches"
    return warning("announced-sentinel", f"Sentinel {address}", what, mend)
