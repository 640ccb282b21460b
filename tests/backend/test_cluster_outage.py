"""A Cluster of which no node replies, or none that knows an owner of a slot: what the log says and what is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from stateroom.backend.breaker import BreakerState
from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.drills import topology
from stateroom.drills.node import Node, running, server_binary, until
from stateroom.drills.ports import free_port
from stateroom.errors import StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..logs import capture_events

HERE = "127.0.0.1"


@contextlib.asynccontextmanager
async def client_at(*nodes: Address, metrics: Metrics | None = None) -> AsyncIterator[RedisClient]:
    named = ",".join(map(str, nodes))
    client = make_client(
        Settings(_env_file=None, cookie_keys=new_key(), database_url="none", redis_cluster_nodes=named),
        metrics=metrics or Metrics(),
    )
    try:
        await client.start()
        yield client
    finally:
        await client.aclose()


async def works(client: RedisClient) -> bool:
    with contextlib.suppress(StoreUnavailable):
        return bool(await client.execute("k", "SET", "k", "1") == b"OK")
    return False


async def take_all_slots(node: Node) -> None:
    await node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    async def is_ok() -> bool:
        return b"cluster_state:ok" in await node.call("CLUSTER", "INFO")

    await until(is_ok, "the Cluster has all slots")


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


async def test_a_cluster_that_is_unreachable_at_startup_is_told_once_and_counted(tmp_path: Path) -> None:
    node, gone = Node(tmp_path / "node", server_binary(), options=topology.cluster_options()), Address(HERE, free_port())
    metrics = Metrics()

    def errors() -> float:
        return metrics.registry.get_sample_value("stateroom_redis_errors_total", {"kind": "connection"}) or 0.0

    with capture_events() as events:
        async with client_at(node.address, gone, metrics=metrics) as client:

            async def has_asked_often() -> bool:
                assert not await works(client)
                return errors() >= 3

            await until(has_asked_often, "three rounds of questions have failed")
            [at_start] = named(events, "redis_away_at_start")
            [unreachable] = named(events, "cluster_unreachable")
            for place in (node.address, gone):
                assert f"{place}: " in at_start["reason"]
                assert f"{place}: " in unreachable["causes"]
            assert at_start["fix"] == unreachable["fix"]
            assert at_start["fix"].startswith("start it, or correct its address; run `stateroom doctor`")
            assert client.pool_figures().circuit == BreakerState.OPEN.value
            assert named(events, "cluster_reached") == []

            async with running([node]):
                await take_all_slots(node)

                async def is_back() -> bool:
                    return await works(client)

                await until(is_back, "the Cluster is used")
                assert len(named(events, "cluster_reached")) == 1
                assert client.pool_figures().circuit == BreakerState.CLOSED.value

                await node.kill()

                async def is_told() -> bool:
                    await works(client)
                    return len(named(events, "cluster_unreachable")) == 2

                await until(is_told, "the second outage is told")
                before = errors()

                async def has_asked_again() -> bool:
                    await works(client)
                    return errors() >= before + 5

                await until(has_asked_again, "further rounds have failed")
                assert len(named(events, "cluster_unreachable")) == 2


async def test_a_start_node_that_was_removed_from_its_cluster_is_named_at_startup(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node", options=topology.cluster_options()) as node:
        with capture_events() as events:
            async with client_at(node.address) as client:
                assert not await works(client)
    [told] = named(events, "redis_away_at_start")
    assert told["reason"].startswith(f"{node.address}: it knows no slots")
    assert "remove it from REDIS_CLUSTER_NODES, and name nodes of the Cluster" in told["fix"]


async def test_a_server_that_is_no_node_is_named_at_startup(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        with capture_events() as events:
            async with client_at(node.address) as client:
                assert not await works(client)
    [told] = named(events, "redis_away_at_start")
    assert "cluster support disabled" in told["reason"]
    assert told["fix"].startswith("set cluster-enabled yes on it, or change REDIS_MODE")


async def test_a_node_with_as_many_clients_as_it_allows_is_told_as_that(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node", options=topology.cluster_options()) as node:
        await take_all_slots(node)
        assert node.dialer is not None
        connection = await node.dialer.dial(node.address)
        await connection.send_command("CONFIG", "SET", "maxclients", "1")
        await connection.read_response()
        with capture_events() as events:
            async with client_at(node.address):
                pass
        await connection.disconnect()
    [told] = named(events, "redis_away_at_start")
    assert told["fix"].startswith("raise `maxclients` of Redis")
