"""What one node of a Cluster says about the slots. `slot_map.py` judges what many nodes say.

CLUSTER SLOTS names the owners and how clients reach them, but it has no epochs. CLUSTER NODES has them: the owner of a slot
is the claimant with the highest config epoch (https://valkey.io/topics/cluster-spec/). A user without the right to
CLUSTER NODES and CLUSTER INFO still learns the owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from ..settings import Address
from .info import parse_info

SLOT_COUNT = 16384
QUESTIONS = (("CLUSTER", "SLOTS"), ("CLUSTER", "NODES"), ("CLUSTER", "INFO"))
"""The commands whose replies `read_view` reads."""
_NOWHERE = "?"
"""The host of a node that should announce a host name but has none (https://valkey.io/commands/cluster-slots/)."""


@dataclass(frozen=True, slots=True)
class Range:
    """The slots from `low` to `high`, both included, and the nodes that hold them. `0 <= low <= high < SLOT_COUNT`.

    `node_id`: the primary's id; empty if unknown. `epoch`: the primary's config epoch; None if unknown.
    """

    low: int
    high: int
    primary: Address
    replicas: tuple[Address, ...] = ()
    node_id: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What `node` says.

    `ranges`: disjoint. `unreachable`: slots whose owner it names without an address. `node_id`: its own id; empty if it may not
    be asked. `members`: the ids of every node that it knows. `is_ok`: its cluster_state is ok; None if it may not be asked.
    """

    node: Address
    ranges: tuple[Range, ...] = ()
    unreachable: int = 0
    node_id: str = ""
    members: frozenset[str] = field(default_factory=frozenset)
    is_ok: bool | None = None


def covered(ranges: Iterable[Range]) -> int:
    """How many slots at least one of these ranges has. `0 <= covered <= SLOT_COUNT`."""
    count = reached = 0
    for each in sorted(ranges, key=lambda each: each.low):
        count += max(0, each.high + 1 - max(each.low, reached))
        reached = max(reached, each.high + 1)
    return count


def slots_of(ranges: Iterable[Range]) -> dict[Address, int]:
    """The slots of each primary: bit `n` is set for slot `n`."""
    slots: dict[Address, int] = {}
    for each in ranges:
        slots[each.primary] = slots.get(each.primary, 0) | ((1 << (each.high + 1 - each.low)) - 1) << each.low
    return slots


def endpoint(host: bytes | str | None, port: int, asked: Address) -> Address | None:
    """Where a node is that `asked` names. None if it cannot be reached.

    An empty host means the host that was asked (`cluster-preferred-endpoint-type unknown-endpoint`, or a node that does not
    know its own address). Port 0 belongs to a node whose address got lost.
    """
    name = host.decode() if isinstance(host, bytes) else host or ""
    if name == _NOWHERE or port <= 0:
        return None
    return Address(name or asked.host, port)


def read_view(node: Address, replies: Sequence[Any]) -> View:
    """The view of `node` from its replies to `QUESTIONS`. An error reply is in its place.

    Raises the error of CLUSTER SLOTS, and `ValueError`, `TypeError` or `IndexError` if a reply is not that of a node.
    """
    slots, nodes, info = replies
    if isinstance(slots, Exception):
        raise slots
    node_id, epochs = ("", {}) if isinstance(nodes, RedisError) else _nodes(_text(nodes))
    ranges, unreachable, members = [], 0, set(epochs)
    for low, high, primary, *replicas in slots:
        address = endpoint(primary[0], int(primary[1]), node)
        owner = _text(primary[2])
        members.update(_text(each[2]) for each in (primary, *replicas))
        if address is None:
            unreachable += int(high) - int(low) + 1
            continue
        followers = (endpoint(each[0], int(each[1]), node) for each in replicas)
        ranges.append(
            Range(int(low), int(high), address, tuple(each for each in followers if each is not None), owner, epochs.get(owner))
        )
    is_ok = None if isinstance(info, RedisError) else parse_info(_text(info)).get("cluster_state") == "ok"
    return View(node, tuple(ranges), unreachable, node_id, frozenset(members), is_ok)


def _nodes(text: str) -> tuple[str, dict[str, int]]:
    """The id of the node that replied, and the config epoch of each node by its id (https://valkey.io/commands/cluster-nodes/)."""
    own, epochs = "", {}
    for line in text.splitlines():
        name, _, flags, _, _, _, epoch, *_ = line.split(" ")
        if "handshake" in flags:  # its id is random until it has replied
            continue
        epochs[name] = int(epoch)
        if "myself" in flags:
            own = name
    return own, epochs


def _text(reply: bytes | str) -> str:
    """A reply as text. RESP3 marks the replies to CLUSTER NODES and CLUSTER INFO as text."""
    return reply if isinstance(reply, str) else reply.decode()
