"""Checks the addresses that Sentinels hand out: of the primary, of its replicas and of the Sentinels themselves.

Behind NAT, or in containers, a server may announce an address that only its own network can reach. This shows only in
the failover that promotes the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..settings import Address
from .findings import Finding, fault, warning
from .quorum import believed_primary
from .reach import Connector, Unreached
from .sentinels import Sentinel


@dataclass(frozen=True, slots=True)
class ListedServer:
    """A server as the Sentinels describe it. `flags` are Sentinel's words, such as `slave,s_down`."""

    address: Address
    flags: str
    is_primary: bool


def listed_servers(sentinels: Sequence[Sentinel]) -> dict[Address, str]:
    """The servers that any Sentinel lists, the primary first. Each has the flags of the first Sentinel that lists it."""
    primary = believed_primary(sentinels)
    listed: dict[Address, str] = {}
    if primary is not None:
        listed[primary] = next(sentinel.state.get("flags", "") for sentinel in sentinels if sentinel.primary == primary)
    for sentinel in sentinels:
        for replica in sentinel.replicas:
            address = Address(replica["ip"], int(replica["port"]))
            if address != primary:
                listed.setdefault(address, replica.get("flags", ""))
    return listed


def judge_unreached(where: str, listed: ListedServer, why: Unreached, proof: str | None) -> Finding:
    """Judge a server that the Sentinels list and that this host cannot reach at the listed address.

    `proof`: how it is known that the server runs; None if it is not known (proof.py).
    """
    if proof is not None:
        role = "primary" if listed.is_primary else "replica"
        what = f"this host cannot reach the {role} at this address ({why.what}), but {proof}"
        fix = (
            "set replica-announce-ip and replica-announce-port on the server to an address that this host can reach, "
            "or open the firewall"
        )
        if why.cause == "silent":
            fix = f"check that the server does not hang; {fix}"
        if why.cause == "name":
            fix = "make that name resolve on this host (DNS, /etc/hosts), or set replica-announce-ip to a name that resolves here"
        return fault("announced-address", where, what, fix)
    if "down" not in listed.flags:
        what = f"{why.what}; the Sentinels and the primary do not hear from it either"
        fix = "start it; if it stays down, run the doctor again after down-after-milliseconds, when the Sentinels have noticed it"
        return fault("server-unreachable", where, what, fix)
    fix = (
        "start it; if it runs, correct its replica-announce-ip and replica-announce-port; if it is removed for good, "
        "run SENTINEL RESET on each Sentinel, one after the other"
    )
    return fault("server-unreachable", where, f"{why.what}; the Sentinels cannot reach it either", fix)


async def judge_sentinel_addresses(
    connector: Connector, sentinels: Sequence[Sentinel], configured: Sequence[Address]
) -> list[Finding]:
    """Check the addresses that Sentinels use for each other and that REDIS_SENTINELS does not name."""
    known = {
        Address(other["ip"], int(other["port"]))
        for sentinel in sentinels
        for other in sentinel.others
        if "down" not in other.get("flags", "")
    }
    unlisted = sorted(known.difference(configured))
    answers = await asyncio.gather(*(_reach(connector, address) for address in unlisted))
    return [_unreachable(address, why) for address, why in zip(unlisted, answers, strict=True) if why is not None]


async def _reach(connector: Connector, address: Address) -> Unreached | None:
    try:
        async with connector.connect(address):
            return None
    except Unreached as why:
        return why


def _unreachable(address: Address, why: Unreached) -> Finding:
    what = f"other Sentinels use this address for it, but this host cannot reach the address ({why.what})"
    fix = "set `sentinel announce-ip` and `sentinel announce-port` on it to an address that every host can reach"
    return warning("announced-sentinel", f"Sentinel {address}", what, fix)
