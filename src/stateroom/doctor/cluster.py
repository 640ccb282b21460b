"""A Cluster: every slot has a primary, every primary a replica, and all nodes tell the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backend.cluster import SLOT_COUNT, shard_keys
from ..settings import Address
from .findings import Finding, fault, ok, warning
from .reach import Road, Unreached

WHERE = "Cluster"
ENOUGH = 3


@dataclass(frozen=True, slots=True)
class Range:
    """Slots `low` to `high`, and who has them."""

    low: int
    high: int
    primary: Address
    replicas: tuple[Address, ...]


async def look_at_nodes(road: Road, nodes: Sequence[Address]) -> dict[Address, list[Range] | Finding]:
    """What each start node says of the slots, or why it says nothing."""
    return dict(zip(nodes, await asyncio.gather(*(_look(road, node) for node in nodes)), strict=True))


async def _look(road: Road, node: Address) -> list[Range] | Finding:
    where = f"Node {node}"
    try:
        async with road.to(node) as connection:
            [reply] = await road.ask(connection, ("CLUSTER", "SLOTS"))
    except Unreached as why:
        return road.unreached(where, why)
    if isinstance(reply, Exception):
        if "permission" in str(reply):
            return fault(
                "rights", where, f"user {road.user} may not ask CLUSTER SLOTS", "give it +cluster|slots in users.acl of every node"
            )
        return fault("no-cluster", where, f"it answers {reply}", "set cluster-enabled yes there, or another REDIS_MODE here")
    return [
        Range(int(low), int(high), _address(primary, node), tuple(_address(each, node) for each in replicas))
        for low, high, primary, *replicas in reply
    ]


def _address(said: Any, node: Address) -> Address:
    """An empty host means: the one you asked."""
    return Address((said[0] or b"").decode() or node.host, int(said[1]))


def believed(views: Mapping[Address, list[Range] | Finding]) -> list[Range]:
    """What the first node says that says anything: the service takes the same."""
    return next((view for view in views.values() if isinstance(view, list) and view), [])


def replicas_of(views: Mapping[Address, list[Range] | Finding]) -> list[Address]:
    """Every replica that any of the nodes tells of: they learn of each other by and by."""
    told = (view for view in views.values() if isinstance(view, list))
    return list(dict.fromkeys(replica for view in told for each in view for replica in each.replicas))


def keys_of_shards(ranges: Sequence[Range]) -> dict[Address, str]:
    owners: list[Address | None] = [None] * SLOT_COUNT
    for each in ranges:
        owners[each.low : each.high + 1] = [each.primary] * (each.high - each.low + 1)
    return shard_keys(owners, len({each.primary for each in ranges}))


def judge_cluster(views: Mapping[Address, list[Range] | Finding]) -> list[Finding]:
    unreached = [view for view in views.values() if isinstance(view, Finding)]
    answered = {node: view for node, view in views.items() if isinstance(view, list)}
    if not answered:
        return unreached
    ranges = believed(views)
    findings = [*unreached, *_shape(ranges), *_agreement(answered, ranges)]
    if len(views) == 1:
        what = "REDIS_CLUSTER_NODES names one node: a service that starts while it is away finds nobody"
        findings.append(warning("one-start-node", WHERE, what, "name two or three, on different machines"))
    count = len({each.primary for each in ranges})
    return findings or [ok(WHERE, f"{len(answered)} start nodes agree: every slot has one of {count} primaries")]


def _shape(ranges: Sequence[Range]) -> Iterator[Finding]:
    missing = SLOT_COUNT - sum(each.high - each.low + 1 for each in ranges)
    if missing:
        what = f"{missing} of {SLOT_COUNT} slots have no node: the sessions in them are away"
        yield fault("slots", WHERE, what, "bring back the primary that had them, or CLUSTER ADDSLOTSRANGE them to others")
    primaries = {each.primary for each in ranges}
    if len(primaries) < ENOUGH:
        what = f"there are {len(primaries)} primaries: when one dies no majority is left to promote its replica"
        yield fault("few-primaries", WHERE, what, "have three or more")


def _agreement(answered: Mapping[Address, list[Range]], ranges: Sequence[Range]) -> Iterator[Finding]:
    owners = _owners(ranges)
    for node, view in answered.items():
        if _owners(view) != owners:
            what = "it tells other owners of the slots than the first node does"
            mend = "see that it reaches the others on the cluster bus port, both ways; right after a failover ask again"
            yield fault("disagrees", f"Node {node}", what, mend)


def _owners(ranges: Sequence[Range]) -> set[tuple[int, int, Address]]:
    return {(each.low, each.high, each.primary) for each in ranges}
