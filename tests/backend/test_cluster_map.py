"""Clusters whose nodes say different things about the slots, and nodes that say nothing, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from redis.crc import key_slot

from stateroom.backend.client import RedisClient, Script
from stateroom.backend.clients import make_client
from stateroom.backend.cluster import ClusterClient
from stateroom.drills import topology
from stateroom.drills.node import Node, running, server_binary, until
from stateroom.drills.ports import free_port
from stateroom.errors import SettingsError, StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..conftest import require_tool
from ..patience import at_most
from .cluster_changes import half_moved, remove

KEYS = tuple("abcdefghijklmnop")
"""Keys that lie on every shard of three."""
assert {key_slot(key.encode()) * 3 // 16384 for key in KEYS} == {0, 1, 2}

ECHO_SCRIPT = Script.of("redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]")


@contextlib.asynccontextmanager
async def client_of(*nodes: Node | Address, **values: object) -> AsyncIterator[ClusterClient]:
    named = ",".join(str(each.address if isinstance(each, Node) else each) for each in nodes)
    made = {
        "_env_file": None, "cookie_keys": new_key(), "database_url": "none", "redis_cluster_nodes": named,
        "redis_dial_timeout": 2, "redis_read_timeout": 2,
    }  # fmt: skip
    client = make_client(Settings(**(made | values)), metrics=Metrics())
    assert isinstance(client, ClusterClient)
    try:
        await client.start()
        yield client
    finally:
        await client.aclose()


async def reads_all(client: RedisClient) -> bool:
    try:
        await asyncio.gather(*(client.execute(key, "GET", key) for key in KEYS))
    except StoreUnavailable:
        return False
    return True


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_removed_node_may_be_the_first_start_node(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stateroom.backend.cluster.REFRESH_SECONDS", 0.5)
    binary = server_binary() if kind == "valkey" else require_tool("redis-server")
    async with topology.cluster(tmp_path, binary=binary) as nodes:
        gone = nodes[-1]
        await remove(nodes, gone)
        async with client_of(gone, nodes[0]) as client:
            assert await reads_all(client)
            assert len(client.shards()) == 3

            async def is_logged() -> bool:
                return "cluster_map_refused" in caplog.text

            await until(is_logged, "the removed node is named in the log")
            assert await reads_all(client)
            assert client.is_available
    [line] = [each.getMessage() for each in caplog.records if "cluster_map_refused" in each.getMessage()]
    assert f"{gone.address}" in line
    assert "knows no slots" in line
    assert "REDIS_CLUSTER_NODES" in line


async def test_a_node_that_is_removed_later_takes_nothing_away(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes, client_of(nodes[-1], nodes[0]) as client:
        assert await reads_all(client)
        await remove(nodes, nodes[-1])
        for _ in range(3):
            await client._refresh()
            assert await reads_all(client)
            assert len(client.shards()) == 3


async def test_a_primary_that_comes_back_with_an_empty_disk_takes_no_other_shard_away(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes, client_of(nodes[0], nodes[1]) as client:
        emptied, others = nodes[0], [key for key in KEYS if key_slot(key.encode()) * 3 // 16384]
        await client.execute("l", "SET", "l", "1")
        await emptied.kill()
        (emptied.folder / "nodes.conf").unlink()
        await emptied.start()
        for _ in range(3):
            await client._refresh()
            for key in others:
                await client.execute(key, "GET", key)
        async with client_of(emptied, nodes[1]) as fresh:  # a worker that asks it first
            for key in others:
                await fresh.execute(key, "GET", key)
            for each in (client, fresh):
                await until(partial(reads_all, each), "the promoted replica is found")
                assert len(each.shards()) == 3
                assert emptied.address not in {owned.primary for owned in each._watch.ranges}


def with_new_ports(node: Node) -> Node:
    """Return a node in the folder of this one, with new ports."""
    return Node(node.folder, node.binary, options={**node.options, "cluster-port": str(free_port())})


async def stop_and_change(node: Node, later: Node) -> None:
    """Stop a node, and give it the ports of `later` in its configuration."""
    await node.stop()
    config = node.folder / "server.conf"
    text = re.sub(r"(?m)^port \d+$", f"port {later.port}", config.read_text())
    config.write_text(re.sub(r"(?m)^cluster-port \d+$", f"cluster-port {later.options['cluster-port']}", text))


@contextlib.asynccontextmanager
async def foreign_cluster(folder: Path, places: Sequence[Node]) -> AsyncIterator[list[Node]]:
    """Another Cluster without replicas at the addresses of these nodes."""
    nodes = [
        Node(folder / f"foreign-{number}", place.binary, port=place.port, options=place.options)
        for number, place in enumerate(places)
    ]
    share = 16384 // len(nodes)
    async with running(nodes):
        for number, node in enumerate(nodes):
            last = 16383 if number == len(nodes) - 1 else (number + 1) * share - 1
            await node.call("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            await node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 100)
        for node in nodes[1:]:
            await node.call("CLUSTER", "MEET", nodes[0].host, nodes[0].port, nodes[0].options["cluster-port"])

        async def is_whole() -> bool:
            said = [(await node.call("CLUSTER", "INFO")).decode() for node in nodes]
            return all("cluster_state:ok" in each for each in said)

        await until(is_whole, "the foreign Cluster is whole")
        yield nodes


async def test_a_foreign_cluster_at_the_old_addresses_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stateroom.backend.slot_map.HOLD_SECONDS", 600.0)
    monkeypatch.setattr("stateroom.backend.slot_refusals.LASTS_SECONDS", 0.0)
    async with topology.cluster(tmp_path, shards=2) as nodes:
        moved = [with_new_ports(node) for node in nodes]
        async with client_of(nodes[0], moved[0], moved[1], redis_dial_timeout=5, redis_read_timeout=5) as client:
            assert await reads_all(client)
            for node, later in zip(nodes, moved, strict=True):
                await stop_and_change(node, later)
            async with foreign_cluster(tmp_path, nodes) as foreign, running(moved):
                strangers = {node.address for node in foreign}

                # Each of our nodes knows only itself, and has lost the others' addresses: a foreign node replies there.
                async def lost_them() -> bool:
                    return "noaddr" in (await moved[0].call("CLUSTER", "NODES")).decode()

                await until(lost_them, "our nodes find strangers at the old addresses")
                await client._refresh()
                assert not any(client.standing(key).is_believed for key in KEYS if client._owner(key) in strangers)
                assert all(address.port > 0 for address in client._shards)
                assert "belongs to another Cluster" in caplog.text
                assert "without an address" in caplog.text
                for node in moved[1:]:
                    await node.call("CLUSTER", "MEET", moved[0].host, moved[0].port, moved[0].options["cluster-port"])

                async def is_found() -> bool:
                    return await reads_all(client) and strangers.isdisjoint(client._shards)

                await until(is_found, "our Cluster is found again when its nodes have met")
                assert {owned.primary for owned in client._watch.ranges} == {moved[0].address, moved[1].address}


async def test_a_cluster_built_anew_at_the_old_addresses_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stateroom.backend.slot_map.HOLD_SECONDS", 1.0)
    async with topology.cluster(tmp_path, shards=2) as nodes, client_of(nodes[0], nodes[1]) as client:
        assert await reads_all(client)
        for node in nodes:
            await node.stop()
        async with foreign_cluster(tmp_path, nodes[:2]) as anew:
            await until(lambda: reads_all(client), "the new Cluster is used")
            assert set(client._shards) == {node.address for node in anew}

            async def is_believed() -> bool:
                return all(client.standing(key).is_believed for key in KEYS)

            await until(is_believed, "the new nodes are not taken for strangers")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_an_empty_host_in_a_redirection_means_the_host_that_was_asked(tmp_path: Path, kind: str) -> None:
    binary = server_binary() if kind == "valkey" else require_tool("redis-server")
    async with topology.cluster(tmp_path, binary=binary) as nodes:
        for node in nodes:
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
        async with client_of(nodes[0]) as client:
            assert await reads_all(client)
            await client.execute("k", "SET", "k", "1")
            async with half_moved(nodes[:3], "k", ["k"]) as target:
                assert await client.execute("k", "GET", "k") == b"1"  # ASK
                assert await client.run(ECHO_SCRIPT, ["k"], ["2"]) == b"2"
            assert await client.execute("k", "GET", "k") == b"2"  # MOVED
            assert client._owners[key_slot(b"k")] == target.address


async def test_host_names_are_used_where_nodes_announce_them(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes:
        for node in nodes:
            await node.call("CONFIG", "SET", "cluster-announce-hostname", "localhost")
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")

        async def are_known() -> bool:
            return bool((await nodes[0].call("CLUSTER", "NODES")).decode().count(",localhost") == len(nodes))

        await until(are_known, "the nodes know each other's names")
        async with client_of(nodes[0]) as client:
            assert await reads_all(client)
            assert {address.host for address in client._shards} == {"localhost"}
            await client.execute("k", "SET", "k", "1")
            async with half_moved(nodes[:3], "k", ["k"]):
                assert await client.execute("k", "GET", "k") == b"1"
            assert await client.execute("k", "GET", "k") == b"1"


async def test_a_redirection_to_a_node_without_a_name_is_unavailable_and_not_dialled(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes, client_of(nodes[0]) as client:
        await client.execute("k", "SET", "k", "1")
        for node in nodes:  # "?", as no node announces a host name
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
        async with half_moved(nodes[:3], "k", ["k"]):
            with pytest.raises(StoreUnavailable, match="without an address"):
                await client.execute("k", "GET", "k")
        assert all(address.host == nodes[0].host for address in client._shards)
        for node in nodes:
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
        await until(lambda: reads_all(client), "the slot is found again")
        assert await client.execute("k", "GET", "k") == b"1"


async def test_a_primary_that_hung_does_not_get_its_slots_back(tmp_path: Path) -> None:
    """It names itself as their owner until the others have told it of its successor."""
    async with topology.cluster(tmp_path) as nodes, client_of(*nodes[:3]) as client:
        hung = nodes[0]
        hung.pause()
        try:
            with at_most(20):
                await until(lambda: reads_all(client), "the promoted replica is found", seconds=60)
            before = client._watch.ranges
            assert hung.address not in {owned.primary for owned in before}
        finally:
            hung.resume()
        for _ in range(5):
            await client._refresh()
            assert client._watch.ranges == before
            assert await reads_all(client)


async def test_a_hung_node_does_not_delay_the_refresh(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes:
        nodes[-1].pause()  # a replica, so that every primary replies
        try:
            with at_most(20):
                async with client_of(nodes[-1], *nodes[:3], redis_dial_timeout=30, redis_read_timeout=30) as client:
                    await client._refresh()
                    assert await reads_all(client)
        finally:
            nodes[-1].resume()


async def test_when_the_first_start_node_is_dead_the_others_are_used(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes, client_of(Address("127.0.0.1", free_port()), nodes[4]) as client:
        assert await reads_all(client)


async def test_a_user_without_the_newer_rights_is_enough(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as nodes:
        for node in nodes:
            await node.call("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-cluster", "+cluster|slots")
        await remove(nodes, nodes[-1])
        values = {"redis_username": "app", "redis_password": "secret"}
        async with client_of(nodes[-1], *nodes[:2], **values) as client:
            assert await reads_all(client)
            assert client.standing("a").is_believed
            await nodes[1].kill()
            await until(lambda: reads_all(client), "the promoted replica is found")


async def test_a_wrong_password_stops_startup(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path, shards=1) as nodes:
        with pytest.raises(SettingsError, match="REDIS_PASSWORD"):
            async with client_of(nodes[0], redis_password="wrong-secret"):
                pass


async def test_a_shard_that_says_that_the_cluster_failed_is_not_believed(tmp_path: Path) -> None:
    """`cluster-allow-reads-when-down yes`: an isolated primary goes on answering reads."""
    async with topology.cluster(tmp_path) as nodes, client_of(nodes[0]) as client:
        await nodes[0].call("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        key = next(key for key in KEYS if client._owners[key_slot(key.encode())] == nodes[0].address)
        assert client.standing(key).is_believed
        for node in nodes[1:]:
            node.pause()
        try:

            async def has_failed() -> bool:
                return "cluster_state:fail" in (await nodes[0].call("CLUSTER", "INFO")).decode()

            await until(has_failed, "the last node notices that it is alone")
            assert await client.execute(key, "GET", key) is None
            await client._refresh()
            assert not client.standing(key).is_believed
        finally:
            for node in nodes[1:]:
                node.resume()
