"""Findings about a Cluster: its slots, its replicas, its fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.doctor.cluster import Range, judge_cluster
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Finding, Level
from stateroom.drills.node import until
from stateroom.sessions.store.key_names import KeyNames
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers
from .conftest import BAD, paused


def settings(servers: Servers, **values: Any) -> Settings:
    return servers.settings("cluster", **({"redis_dial_timeout": 1.5, "redis_read_timeout": 1.5} | values))


async def found(made: Settings) -> list[Finding]:
    """The findings, without those that every server in these tests has."""
    return [each for each in (await examine(made)).findings if each.level in BAD and each.check not in {"aof-off", "no-journal"}]


async def test_a_whole_cluster_has_no_findings_of_its_own(servers: Servers) -> None:
    async def said() -> str:
        return "\n".join(f"{each.where}: {each.what}" for each in (await examine(settings(servers))).findings)

    async def all_are_told_of() -> bool:
        return (await said()).count("linked to its primary") == 3

    await until(all_are_told_of, "the nodes tell of every replica")
    assert await found(settings(servers)) == []
    assert "every slot has one of 3 primaries" in await said()
    assert (await said()).count("1 replica linked") == 3


async def test_the_fleet_is_asked_on_every_shard(servers: Servers, tmp_path: Path) -> None:
    made = settings(servers, redis_key_prefix="foreign", database_url=f"sqlite:///{tmp_path}/own.db")
    database = Database(made)
    await database.upgrade()
    await database.aclose()
    [fleet] = [each for each in (await examine(made)).findings if each.where == "Deployment"]
    assert fleet.level is Level.OK
    client = make_client(made, metrics=Metrics())
    await client.start()
    key = KeyNames("foreign").fleet(client.shards()[2])
    await client.execute(key, "SET", key, "another")
    try:
        [finding] = await found(made)
    finally:
        await client.execute(key, "DEL", key)
        await client.aclose()
    assert (finding.check, finding.level) == ("fleet", Level.FAULT)


async def test_a_node_that_hangs_and_a_single_start_node_are_found(servers: Servers) -> None:
    hung = servers.cluster[3]
    with paused(hung):
        findings = await found(settings(servers, redis_cluster_nodes=str(servers.cluster[0].address)))
    assert [(each.check, each.where) for each in findings] == [
        ("one-start-node", "Cluster"),
        ("server-unreachable", f"Replica {hung.address}"),
    ]


async def test_a_server_that_is_no_cluster_is_told_as_that(servers: Servers) -> None:
    findings = await found(settings(servers, redis_cluster_nodes=str(servers.valkey.address)))
    assert [each.check for each in findings] == ["no-cluster"]
    assert "REDIS_MODE" in findings[0].fix


async def test_a_clusters_node_named_as_the_single_server_is_found(servers: Servers) -> None:
    node = servers.cluster[0]
    [finding] = await found(servers.settings("valkey", redis_host=node.host, redis_port=node.port))
    assert (finding.check, finding.level) == ("mode", Level.FAULT)


def test_slots_without_a_node_and_views_that_differ_are_found() -> None:
    one, two = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
    views: dict[Address, list[Range] | Finding] = {one: [Range(0, 16000, one, ())], two: [Range(0, 16000, two, ())]}
    findings = {each.check: each for each in judge_cluster(views)}
    assert findings.keys() == {"slots", "few-primaries", "disagrees"}
    assert findings["slots"].what.startswith("383 of 16384 slots")
    assert findings["disagrees"].where == f"Node {two}"
