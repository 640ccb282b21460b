"""Slots move from one shard to another under load, in both ways that servers offer. No request is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

from stateroom.drills.judge import judge
from stateroom.drills.ledger import Ledger
from stateroom.drills.load import Load
from stateroom.drills.node import Node, until
from stateroom.sessions.store.key_names import TAGS

from .clustered import clustered

MIGRATE_TIMEOUT_MS = 5000


class Mover:
    """Moves slots from one primary to another."""

    def __init__(self, source: Node, target: Node, everybody: list[Node]) -> None:
        self.source, self.target, self.everybody = source, target, everybody

    async def used_slots(self, node: Node) -> list[int]:
        """The slots of sessions with keys on this node."""
        slots = sorted(int(key_slot(tag.encode())) for tag in TAGS)
        async with _talk(node) as say:
            return [slot for slot in slots if await say("CLUSTER", "COUNTKEYSINSLOT", slot)]

    async def by_key(self, slots: list[int]) -> int:
        """Move key after key, as Redis 7 and `valkey-cli --cluster reshard` do. Meanwhile a user's keys are on both nodes."""
        source_id, target_id = [(await node.call("CLUSTER", "MYID")).decode() for node in (self.source, self.target)]
        moved = 0
        async with contextlib.AsyncExitStack() as stack:
            source, target = [await stack.enter_async_context(_talk(node)) for node in (self.source, self.target)]
            primaries = [await stack.enter_async_context(_talk(node)) for node in self.everybody]
            for slot in slots:
                await target("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
                await source("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
                while keys := await source("CLUSTER", "GETKEYSINSLOT", slot, 1):
                    at = self.target.address
                    await source("MIGRATE", at.host, at.port, "", 0, MIGRATE_TIMEOUT_MS, "KEYS", *keys)
                    moved += 1
                    await asyncio.sleep(0.01)
                for say in (target, source, *primaries):
                    await say("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        return moved

    async def at_once(self, low: int, high: int) -> None:
        """Move slots as Valkey 9 does: it copies the data, then moves all slots at once."""
        target_id = (await self.target.call("CLUSTER", "MYID")).decode()
        await self.source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", low, high, "NODE", target_id)

        async def is_done() -> bool:
            jobs = [_pairs(job) for job in await self.source.call("CLUSTER", "GETSLOTMIGRATIONS")]
            assert all(job[b"state"] not in {b"failed", b"cancelled"} for job in jobs), jobs
            return all(job[b"state"] == b"success" for job in jobs)

        await until(is_done, "the slots have moved")


@contextlib.asynccontextmanager
async def _talk(node: Node) -> AsyncIterator[Any]:
    """Run many commands over one connection."""
    assert node.dialer is not None
    connection: AbstractConnection = await node.dialer.dial(node.address)

    async def say(*command: Any) -> Any:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response()

    yield say
    await connection.disconnect(nowait=True)


def _pairs(reply: Any) -> dict[bytes, Any]:
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def refused(ledger: Ledger) -> list[Any]:
    return [each for each in ledger.answers if each.status >= 500 or each.status == 0]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["by key", "at once"])
async def test_slots_move_under_load_and_no_request_fails(tmp_path: Path, way: str) -> None:
    async with clustered(tmp_path) as made:
        primaries = made.nodes[:3]
        mover = Mover(primaries[0], primaries[1], primaries)
        async with Load(made.urls, writers=9, writes=40, signers=12, logins=6) as load:
            async with load.steady():
                await asyncio.sleep(1)
                slots = await mover.used_slots(mover.source)
                if way == "by key":
                    assert await mover.by_key(slots) > len(slots)
                else:
                    await mover.at_once(0, 5460)
                await asyncio.sleep(1)
            ledger = load.ledger()
            verdict = await judge(ledger, made.urls)
            assert set(slots) <= set(await mover.used_slots(mover.target))
    print(f"{way}: {len(slots)} slots; {verdict.requests}, {verdict.degraded} degraded, slowest {verdict.slowest}")
    assert verdict.faults() == []
    assert verdict.lost_writes == []
    assert refused(ledger) == []
