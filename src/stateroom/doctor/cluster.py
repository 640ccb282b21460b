"""Checks a Cluster: every slot has a primary, enough primaries exist, and all nodes agree who has which slot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backend.shard_keys import shard_keys
from ..backend.slot_views import SLOT_COUNT
from ..plurals import counted
from ..settings import Address
from .findings import Finding, fault, ok, warning
from .reach import Connector, Unreached

WHERE = "Cluster"
ENOUGH = 3
"""A majority of the primaries must vote for a replica before it is promoted."""


@dataclass(frozen=True, slots=True)
class Range:
    """The slots from `low` to `high`, both included, and the nodes that hold them."""

    low: int
    high: int
    primary: Address
    replicas: tuple[Address, ...]


async def look_at_nodes(connector: Connector, nodes: Sequence[Address]) -> dict[Address, list[Range] | Finding]:
    """Ask each start node for the slots. A node that gives no reply gets a finding with the reason."""
    return dict(zip(nodes, await asyncio.gather(*(_look(connector, node) for node in nodes)), strict=True))


async def _look(connector: Connector, node: Address) -> list[Range] | Finding:
    where = f"Node {node}"
    try:
        async with connector.connect(node) as connection:
            [reply] = await connector.ask(connection, ("CLUSTER", "SLOTS"))
    except Unreached as why:
        return connector.unreached(where, why)
    if isinstance(reply, Exception):
        if "permission" in str(reply):
            return fault(
                "rights",
                where,
                f"user {connector.user} may not run CLUSTER SLOTS",
                "give it +cluster|slots in users.acl on every node",
            )
        return fault("no-cluster", where, f"it replies {reply}", "set cluster-enabled yes on it, or change REDIS_MODE")
    return [
        Range(int(low), int(high), _address(primary, node), tuple(_address(each, node) for each in replicas))
        for low, high, primary, *replicas in reply
    ]


def _address(said: Any, node: Address) -> Address:
    """An empty host means the node that was asked (https://valkey.io/commands/cluster-slots/)."""
    return Address((said[0] or b"").decode() or node.host, int(said[1]))


def believed(views: Mapping[Address, list[Range] | Finding]) -> list[Range]:
    """The slots according to the first node that replied. The service uses that reply too."""
    return next((view for view in views.values() if isinstance(view, list) and view), [])


def replicas_of(views: Mapping[Address, list[Range] | Finding]) -> list[Address]:
    """The replicas that any node lists. A new replica is not known to all nodes at once."""
    told = (view for view in views.values() if isinstance(view, list))
    return list(dict.fromkeys(replica for view in told for each in view for replica in each.replicas))


def keys_of_shards(ranges: Sequence[Range]) -> dict[Address, str]:
    """For each primary, the name of one shard that it holds. The fleet's id is kept once in each shard."""
    owners: list[Address | None] = [None] * SLOT_COUNT
    for each in ranges:
        owners[each.low : each.high + 1] = [each.primary] * (each.high - each.low + 1)
    return shard_keys(owners, len({each.primary for each in ranges}))


def judge_cluster(views: Mapping[Address, list[Range] | Finding]) -> list[Finding]:
    """Judge what `look_at_nodes` returned."""
    unreached = [view for view in views.values() if isinstance(view, Finding)]
    answered = {node: view for node, view in views.items() if isinstance(view, list)}
    if not answered:
        return unreached
    ranges = believed(views)
    findings = [*unreached, *_shape(ranges), *_agreement(answered, ranges)]
    if len(views) == 1:
        what = "REDIS_CLUSTER_NODES names only one node; while that node is unavailable, the service cannot start"
        findings.append(warning("one-start-node", WHERE, what, "name two or three nodes, on different machines"))
    count = len({each.primary for each in ranges})
    return findings or [ok(WHERE, f"{len(answered)} start nodes agree: every slot has one of {count} primaries")]


def _shape(ranges: Sequence[Range]) -> Iterator[Finding]:
    missing = SLOT_COUNT - sum(each.high - each.low + 1 for each in ranges)
    if missing:
        have = "has" if missing == 1 else "have"
        what = f"{missing} of {SLOT_COUNT} slots {have} no node, so the sessions in these slots are unavailable"
        yield fault(
            "slots",
            WHERE,
            what,
            "start the primary that had these slots, or give the slots to other nodes with CLUSTER ADDSLOTSRANGE",
        )
    primaries = {each.primary for each in ranges}
    if len(primaries) < ENOUGH:
        is_ = "is" if len(primaries) == 1 else "are"
        what = f"there {is_} {counted(len(primaries), 'primary', 'primaries')}; if one fails, no majority can promote its replica"
        yield fault("few-primaries", WHERE, what, "run at least three primaries")


def _agreement(answered: Mapping[Address, list[Range]], ranges: Sequence[Range]) -> Iterator[Finding]:
    owners = _owners(ranges)
    for node, view in answered.items():
        if _owners(view) != owners:
            what = "it names other owners of the slots than the first node does"
            fix = "check that the nodes reach each other on the cluster bus port; if a failover just ended, run the doctor again"
            yield fault("disagrees", f"Node {node}", what, fix)


def _owners(ranges: Sequence[Range]) -> set[tuple[int, int, Address]]:
    return {(each.low, each.high, each.primary) for each in ranges}
