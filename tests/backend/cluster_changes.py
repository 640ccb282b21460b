"""Changes of a Cluster: a slot that is being moved, a node that is removed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from redis.crc import key_slot
from redis.exceptions import MovedError, ResponseError

from stateroom.drills.node import Node, until


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


async def move_slot(primaries: Sequence[Node], slot: int, old: Node, new: Node) -> None:
    """Move a slot with its keys, as `redis-cli --cluster reshard`."""
    old_id, new_id = [(await node.call("CLUSTER", "MYID")).decode() for node in (old, new)]
    await new.call("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    await old.call("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    while keys := await old.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
        await _migrate(old, new, keys)
    for node in (new, old, *primaries):
        await node.call("CLUSTER", "SETSLOT", slot, "NODE", new_id)


async def move_all(nodes: Sequence[Node], low: int, high: int, old: Node, new: Node) -> None:
    """Move these slots with their keys, in few steps: they are all slots of `old`. Returns when every node knows it."""
    for slot in {key_slot(key) for key in await old.call("KEYS", "*")}:
        await move_slot([node for node in nodes if (await node.call("ROLE"))[0] == b"master"], slot, old, new)

    async def is_claimed() -> bool:
        """The other slots have no keys. A message of the old owner between the two commands gives them back to it."""
        with contextlib.suppress(ResponseError):
            await new.call("CLUSTER", "DELSLOTSRANGE", low, high)
        try:
            await new.call("CLUSTER", "ADDSLOTSRANGE", low, high)
        except ResponseError:
            return False
        return True

    await until(is_claimed, "the new owner claims the slots")
    await new.call("CLUSTER", "BUMPEPOCH")

    async def all_know() -> bool:
        for node in nodes:
            owners = [owner[1] for first, last, owner, *_ in await node.call("CLUSTER", "SLOTS") if first <= high and last >= low]
            if set(owners) != {new.port}:
                return False
        return True

    await until(all_know, "every node knows the new owner of the slots")


async def _migrate(old: Node, new: Node, keys: Sequence[bytes]) -> None:
    await old.call("MIGRATE", new.host, new.port, "", 0, 2000, "KEYS", *(key.decode() for key in keys))
