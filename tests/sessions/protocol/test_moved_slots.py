"""Slots of a Cluster that move to another primary: no session that was ended comes back with them. On real servers.

A worker that restarts reads only the last rows of the journal. The end of the session is not among them in these tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
from redis.crc import key_slot

from stateroom.backend.clients import make_client
from stateroom.backend.cluster import ClusterClient
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.rows import EndRow
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.protocol.cursors import Cursors
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ...backend.cluster_changes import move_all, move_slot
from .fleet import NEVER, AnyFleet, DatabaseLine, Worker, is_trusted

SHARE = 16384 // 3
ROWS_AT_START = 5


class ClusterFleet(AnyFleet):
    """Workers on a Cluster of three primaries. `nodes`: the primaries come first."""

    def __init__(self, nodes: list[Node], database: Database, stack: contextlib.AsyncExitStack) -> None:
        super().__init__(Journal(database, NEVER), stack)
        self.nodes = nodes
        self._database = database

    async def call(self, *command: Any) -> Any:
        return await self.nodes[0].call(*command)

    def _where(self) -> dict[str, Any]:
        return {"redis_mode": "cluster", "redis_cluster_nodes": ",".join(str(node.address) for node in self.nodes[:3])}

    def _make(self, made: Settings, metrics: Metrics) -> Worker:
        line = DatabaseLine(self._database)
        return Worker(made, make_client(made, metrics=metrics), Journal(cast("Database", line), NEVER), line, metrics)

    async def sign_in_on(self, worker: Worker, shard: int) -> tuple[Session, str]:
        """A session whose key lies on this primary, and its sealed value."""
        for number in range(200):
            session, value = await worker.sign_in(f"user{number}")
            if place_of(key_of(worker, session)) == shard:
                return session, value
        raise AssertionError("no user has a slot of this primary")

    async def end(self, session: Session) -> None:
        """Its end is in the journal, and more rows follow than a worker reads when it starts."""
        await self.end_by_row(record_of(session).ref)
        await self.journal.record([EndRow("someone", f"h{number:021d}", "logout", 0) for number in range(4 * ROWS_AT_START)])


def key_of(worker: Worker, session: Session) -> str:
    return worker.store.key(record_of(session).ref)


def place_of(key: str) -> int:
    """The number of the primary that has the key at the beginning."""
    return min(2, int(key_slot(key.encode())) // SHARE)


async def copy_of(node: Node) -> dict[str, bytes]:
    """All that a server holds, as on its disk."""
    return {key.decode(): await node.call("DUMP", key.decode()) for key in await node.call("KEYS", "*")}


async def go_back(node: Node, copy: dict[str, bytes]) -> None:
    """The server holds again what it held then."""
    await node.call("FLUSHALL")
    for key, value in copy.items():
        await node.call("RESTORE", key, 0, cast("str", value))


async def follows(worker: Worker, key: str, node: Node) -> None:
    """Until the worker's map names this owner of the key."""
    client = worker.client
    assert isinstance(client, ClusterClient)

    async def is_followed() -> bool:
        slot = key_slot(key.encode())
        client._stale.set()
        return client._owners[slot] == node.address and slot not in client._moving

    await until(is_followed, "the worker follows the map")


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClusterFleet]:
    monkeypatch.setattr("stateroom.sessions.journal.tail.ROWS_AT_START", ROWS_AT_START)
    monkeypatch.setattr("stateroom.sessions.journal.read_numbers.GAPS_LOOKED_FOR", ROWS_AT_START)
    monkeypatch.setattr("stateroom.sessions.protocol.replay.REST_SECONDS", 0.0)
    database = Database(settings(database_url=f"sqlite:///{tmp_path}/users.db"))
    await database.upgrade()
    async with (
        contextlib.aclosing(database),
        topology.cluster(tmp_path / "cluster") as nodes,
        contextlib.AsyncExitStack() as stack,
    ):
        yield ClusterFleet(nodes, database, stack)


async def test_slots_of_a_primary_that_lags_move_while_no_worker_runs(fleet: ClusterFleet) -> None:
    lags, gets = fleet.nodes[0], fleet.nodes[2]
    early = await fleet.join()
    session, value = await fleet.sign_in_on(early, 0)
    copy = await copy_of(lags)
    await fleet.end(session)
    early.replay.sweeps = True
    await early.settle()
    assert not await early.store.exists(record_of(session).ref)
    await early.client.aclose()
    await go_back(lags, copy)
    await move_all(fleet.nodes, 0, SHARE - 1, lags, gets)
    late = await fleet.join()
    loaded = await late.manager.load(value)
    assert not is_trusted(loaded)
    assert loaded.ended == "logout"
    assert not await late.store.exists(record_of(session).ref)


async def test_the_mark_of_another_primary_moves_to_one_that_lags(fleet: ClusterFleet) -> None:
    worker = await fleet.join()
    by_place = {place_of(shard): shard for shard in worker.client.shards()}
    # The marks lie under the lowest number of each primary. The primary that lags gets a lower one in the end.
    third, other, lagging = sorted(by_place, key=lambda place: int(by_place[place]))
    lags, shard = fleet.nodes[lagging], by_place[third]
    slot = key_slot(shard.encode())
    session, value = await fleet.sign_in_on(worker, lagging)
    copy = await copy_of(lags)
    await fleet.end(session)
    worker.replay.sweeps = True
    await worker.settle()
    # Every primary has a mark under its next key too.
    await move_slot(fleet.nodes[:3], slot, fleet.nodes[third], fleet.nodes[other])
    await follows(worker, shard, fleet.nodes[other])
    await worker.settle()
    await go_back(lags, copy)
    await lags.call("CLIENT", "KILL", "TYPE", "normal")  # as after its restart
    await move_slot(fleet.nodes[:3], slot, fleet.nodes[other], lags)
    await follows(worker, shard, lags)
    late = await fleet.join()
    for each in (late, worker):
        await each.settle()
        loaded = await each.manager.load(value)
        assert not is_trusted(loaded)
        assert loaded.ended == "logout"
    assert not await late.store.exists(record_of(session).ref)


async def test_a_slot_that_leaves_and_comes_back_is_replayed_from_the_beginning(fleet: ClusterFleet) -> None:
    owner, lags = fleet.nodes[0], fleet.nodes[1]
    worker = await fleet.join()
    session, value = await fleet.sign_in_on(worker, 0)
    key = key_of(worker, session)
    slot = key_slot(key.encode())
    await move_slot(fleet.nodes[:3], slot, owner, lags)
    await follows(worker, key, lags)
    await worker.settle()
    old = await lags.call("DUMP", key)
    await fleet.end(session)
    worker.replay.sweeps = True
    await worker.settle()
    assert not await worker.store.exists(record_of(session).ref)
    await lags.call("RESTORE", key, 0, old)
    await move_slot(fleet.nodes[:3], slot, lags, owner)
    await follows(worker, key, owner)
    late = await fleet.join()
    assert not is_trusted(await late.manager.load(value))
    assert not await late.store.exists(record_of(session).ref)


async def test_a_failover_moves_no_slots_so_nothing_is_replayed_again(fleet: ClusterFleet) -> None:
    worker = await fleet.join()
    session, value = await fleet.sign_in_on(worker, 0)
    await fleet.end(session)
    worker.replay.sweeps = True
    await worker.settle()
    key = key_of(worker, session)
    shard = next(shard for shard in worker.client.shards() if place_of(shard) == 0)
    mark = await worker.client.execute(shard, "GET", f"test:{{{shard}}}:mark")
    assert int(mark) > ROWS_AT_START
    replica = fleet.nodes[3]
    await replica.call("CLUSTER", "FAILOVER")
    await follows(worker, key, replica)
    with mock.patch.object(Cursors, "set", side_effect=AssertionError("a cursor was set back")):
        await worker.settle()
        late = await fleet.join()
    assert not is_trusted(await late.manager.load(value))
    assert await worker.client.execute(shard, "GET", f"test:{{{shard}}}:mark") == mark
