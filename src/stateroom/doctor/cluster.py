"""Checks a Cluster: every slot has a primary, enough primaries exist, and all nodes agree who has which slot.

The service judges what the nodes say by the same rules (`backend/slot_map.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError, ResponseError

from ..backend.shard_keys import shard_keys
from ..backend.slot_map import NO_ADDRESS, NO_SLOTS, OLD_OWNERS, OTHER_CLUSTER, SlotMap
from ..backend.slot_refusals import FIXES
from ..backend.slot_views import QUESTIONS, SLOT_COUNT, Range, View, covered, read_view
from ..plurals import counted
from ..settings import Address
from .findings import Finding, fault, ok, warning
from .reach import Connector, Unreached

if TYPE_CHECKING:
    from .servers import Server

WHERE = "Cluster"
ENOUGH = 3
"""A majority of the primaries must vote for a replica before it is promoted."""

_NO_MEMBER = (
    "remove the nodes that left the Cluster from REDIS_CLUSTER_NODES, and name nodes of the Cluster; give them no slots, because "
    "they would become a second Cluster; only if there is no Cluster yet, make one with `redis-cli --cluster create`"
)
"""What to do if no node that replied knows any slot."""

Views = Mapping[Address, View | Finding]
"""What each node says. A node that gave no reply has a finding with the reason."""


async def look_at_nodes(connector: Connector, start_nodes: Sequence[Address]) -> Views:
    """Ask each start node for the slots, then the primaries that they name."""
    views = await _look_at_all(connector, start_nodes)
    named = dict.fromkeys(each.primary for each in believed(views))
    more = await _look_at_all(connector, [node for node in named if node not in views])
    # A primary that gave no reply is told of where the servers are examined.
    return views | {node: view for node, view in more.items() if isinstance(view, View)}


async def _look_at_all(connector: Connector, nodes: Sequence[Address]) -> dict[Address, View | Finding]:
    return dict(zip(nodes, await asyncio.gather(*(_look(connector, node) for node in nodes)), strict=True))


async def _look(connector: Connector, node: Address) -> View | Finding:
    where = f"Node {node}"
    try:
        async with connector.connect(node) as connection:
            replies = await connector.ask(connection, *QUESTIONS)
        return read_view(node, replies)
    except Unreached as why:
        return connector.unreached(where, why)
    except NoPermissionError:
        what = f"user {connector.user} may not run CLUSTER SLOTS"
        return fault("rights", where, what, "give it +cluster|slots in users.acl on every node")
    except (ResponseError, ValueError, TypeError, IndexError, AttributeError) as error:
        return fault("no-cluster", where, f"it replies {error}", "set cluster-enabled yes on it, or change REDIS_MODE")


def believed(views: Views) -> tuple[Range, ...]:
    """The slots as the service would believe them."""
    slot_map = SlotMap()
    slot_map.update(_answered(views), 0.0)
    return slot_map.ranges


def replicas_of(views: Views) -> list[Address]:
    """The replicas that any node lists. A new replica is not known to all nodes at once."""
    return list(dict.fromkeys(replica for view in _answered(views) for each in view.ranges for replica in each.replicas))


def keys_of_shards(ranges: Sequence[Range]) -> dict[Address, str]:
    """For each primary, the name of one shard that it holds. The fleet's id is kept once in each shard."""
    owners: list[Address | None] = [None] * SLOT_COUNT
    for each in ranges:
        owners[each.low : each.high + 1] = [each.primary] * (each.high - each.low + 1)
    return shard_keys(owners, len({each.primary for each in ranges}))


def judge_cluster(views: Views, start_nodes: Sequence[Address]) -> list[Finding]:
    """Judge what `look_at_nodes` returned."""
    unreached = [view for view in views.values() if isinstance(view, Finding)]
    answered = _answered(views)
    if not answered:
        return unreached
    ranges = believed(views)
    findings = [*unreached, *_agreement(answered, ranges), *_shape(answered, ranges)]  # the causes come first
    if len(start_nodes) == 1:
        what = (
            "REDIS_CLUSTER_NODES names only one node; a worker that starts while that node is unavailable finds no other node, and "
            "starts without Redis"
        )
        findings.append(warning("one-start-node", WHERE, what, "name two or three nodes, on different machines"))
    count = len({each.primary for each in ranges})
    return findings or [ok(WHERE, f"{len(answered)} nodes agree: every slot has one of {count} primaries")]


def judge_member(server: Server) -> Iterator[Finding]:
    """Judge one server as a member of a Cluster."""
    if server.config is not None and server.config.get("cluster-allow-reads-when-down") == "yes":
        what = (
            "cluster-allow-reads-when-down is yes, so an isolated primary goes on answering reads, "
            "also of sessions that have ended on its successor"
        )
        yield fault("reads-when-down", server.where, what, "set cluster-allow-reads-when-down no")


def _answered(views: Views) -> list[View]:
    return [view for view in views.values() if isinstance(view, View)]


def _shape(answered: Sequence[View], ranges: Sequence[Range]) -> Iterator[Finding]:
    missing = SLOT_COUNT - covered(ranges)
    if missing:
        have = "has" if missing == 1 else "have"
        what = f"{missing} of {SLOT_COUNT} slots {have} no node, so the sessions in these slots are unavailable"
        fix = "start the primary that had these slots, or give the slots to other nodes with CLUSTER ADDSLOTSRANGE"
        if any(view.unreachable for view in answered):
            fix = "correct the fault no-address above; do not give these slots to other nodes, because they have owners"
        elif not ranges:
            fix = _NO_MEMBER
        yield fault("slots", WHERE, what, fix)
    primaries = {each.primary for each in ranges}
    if 0 < len(primaries) < ENOUGH:
        is_ = "is" if len(primaries) == 1 else "are"
        what = f"there {is_} {counted(len(primaries), 'primary', 'primaries')}; if one fails, no majority can promote its replica"
        yield fault("few-primaries", WHERE, what, "run at least three primaries")


def _agreement(answered: Sequence[View], ranges: Sequence[Range]) -> Iterator[Finding]:
    """What single nodes say that is not believed, or that the service cannot use."""
    slot_map = SlotMap()
    refused = {each.view.node: each.reason for each in slot_map.update(answered, 0.0)}
    owners = _owners(ranges)
    for view in answered:
        where = f"Node {view.node}"
        reason = refused.get(view.node)
        if reason == NO_SLOTS:
            yield warning("no-slots", where, NO_SLOTS, FIXES[NO_SLOTS])
        elif reason == OTHER_CLUSTER:
            yield fault("other-cluster", where, f"{OTHER_CLUSTER} than most nodes", FIXES[OTHER_CLUSTER])
        elif reason == NO_ADDRESS:
            what = f"it names an owner without an address for {counted(view.unreachable, 'slot')}"
            yield fault("no-address", where, what, FIXES[NO_ADDRESS])
        elif reason == OLD_OWNERS or _owners(view.ranges) != owners:
            what = "it names other owners of the slots than the nodes with the newest configuration do"
            yield fault("disagrees", where, what, f"{FIXES[OLD_OWNERS]}; if a failover just ended, run the doctor again")
        elif view.is_ok is False:
            what = "it says that the Cluster has failed (cluster_state:fail), and refuses commands"
            fix = "start the primaries that are down; if this node is isolated, check its way to the others' cluster bus ports"
            yield fault("cluster-state", where, what, fix)


def _owners(ranges: Sequence[Range]) -> set[tuple[int, Address]]:
    """Each slot with its owner, however the slots are cut into ranges."""
    return {(slot, each.primary) for each in ranges for slot in range(each.low, each.high + 1)}
