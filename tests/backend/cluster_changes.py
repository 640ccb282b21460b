"""Changes of a Cluster: a slot that is being moved, a node that is removed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from redis.crc import key_slot
from redis.exceptions import MovedError

from stateroom.drills.node import Node


@contextlib.asynccontextmanager
async def half_moved(primaries: list[Node], slot_of: str, keys: list[str]) -> AsyncIterator[Node]:
    """Begin to move a slot and move some of its keys. Yields the new owner. At the end, move the other keys."""
    slot = key_slot(slot_of.encode())
    owner = await owner_of(primaries, slot_of)
    target = next(node for node in primaries if node is not owner)
    owner_id, target_id = [(await node.call("CLUSTER", "MYID")).decode() for node in (owner, target)]

    async def move(*some: str) -> None:
        await owner.call("MIGRATE", target.host, target.port, "", 0, 1000, "KEYS", *some)

    await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", owner_id)
    await owner.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    await move(*keys)
    yield target
    if rest := await owner.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
        await move(*(key.decode() for key in rest))
    for node in (target, owner, *primaries):
        await node.call("CLUSTER", "SETSLOT", slot, "NODE", target_id)


async def owner_of(nodes: list[Node], key: str) -> Node:
    for node in nodes:
        try:
            await node.call("GET", key)
        except MovedError:
            continue
        return node
    raise AssertionError("nobody owns the key")


async def remove(nodes: Sequence[Node], gone: Node) -> None:
    """As `redis-cli --cluster del-node`."""
    name = (await gone.call("CLUSTER", "MYID")).decode()
    for node in nodes:
        if node is not gone:
            await node.call("CLUSTER", "FORGET", name)
    await gone.call("CLUSTER", "RESET")
