"""Findings about a Cluster: its slots, its replicas, its fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stateroom.backend.clients import make_client
from stateroom.backend.slot_views import Range, View
from stateroom.database import Database
from stateroom.doctor.cluster import judge_cluster
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Finding, Level
from stateroom.drills import topology
from stateroom.drills.node import until
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..backend.cluster_changes import remove
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


ONE, TWO, THREE = (Address(f"10.0.0.{number}", 6379) for number in (1, 2, 3))


def judged(*views: View) -> dict[str, Finding]:
    said = {view.node: view for view in views}
    return {each.check: each for each in judge_cluster(said, [ONE, TWO])}


def view(node: Address, *ranges: Range, members: str = "a b c", is_ok: bool = True, unreachable: int = 0) -> View:
    name = {ONE: "a", TWO: "b", THREE: "c"}[node]
    return View(node, ranges, unreachable, name, frozenset(members.split()), is_ok)


def test_slots_without_a_node_and_views_that_differ_are_found() -> None:
    newer, older = Range(0, 16000, ONE, (), "a", 5), Range(0, 16000, THREE, (), "c", 2)
    findings = judged(view(ONE, newer), view(TWO, older))
    assert findings.keys() == {"slots", "few-primaries", "disagrees"}
    assert findings["slots"].what.startswith("383 of 16384 slots")
    assert findings["disagrees"].where == f"Node {TWO}"


def test_the_way_in_which_slots_are_cut_is_no_disagreement() -> None:
    halves = (Range(0, 8000, ONE, (), "a", 1), Range(8001, 16383, ONE, (), "a", 1))
    assert judged(view(ONE, Range(0, 16383, ONE, (), "a", 1)), view(TWO, *halves)).keys() == {"few-primaries"}


def test_each_reason_for_which_the_service_refuses_a_view_is_a_finding() -> None:
    whole = Range(0, 16383, ONE, (), "a", 1)
    for check, level, odd in (
        ("no-slots", Level.WARNING, view(TWO, members="b", is_ok=False)),
        ("other-cluster", Level.FAULT, view(TWO, Range(0, 9, TWO, (), "b", 9), members="b x")),
        ("no-address", Level.FAULT, view(TWO, Range(0, 9999, ONE, (), "a", 1), unreachable=6384)),
        ("cluster-state", Level.FAULT, view(TWO, whole, is_ok=False)),
    ):
        found_now = judged(view(ONE, whole, members="a c" if check == "other-cluster" else "a b c"), odd)
        assert found_now.keys() == {check, "few-primaries"}
        assert (found_now[check].level, found_now[check].where) == (level, f"Node {TWO}")


async def test_a_start_node_that_left_the_cluster_is_found_and_nothing_else_is_wrong(tmp_path: Path) -> None:
    """As the service, which starts with such a node (tests/backend/test_cluster_map.py)."""
    async with topology.cluster(tmp_path, shards=3) as nodes:
        gone = nodes[-1]
        await remove(nodes, gone)
        named = f"{gone.address},{nodes[0].address}"
        made = Settings(
            _env_file=None, cookie_keys=new_key(), database_url="none", redis_cluster_nodes=named,
            redis_dial_timeout=1.5, redis_read_timeout=1.5,
        )  # fmt: skip
        findings = await found(made)
        alone = {each.check: each for each in await found(made.model_copy(update={"redis_cluster_nodes": (gone.address,)}))}
    assert alone.keys() == {"no-slots", "slots", "one-start-node"}
    assert "ADDSLOTSRANGE" not in alone["slots"].fix
    assert "remove the nodes that left the Cluster from REDIS_CLUSTER_NODES" in alone["slots"].fix
    assert ("no-slots", f"Node {gone.address}") in {(each.check, each.where) for each in findings}
    assert not {"slots", "few-primaries", "disagrees"} & {each.check for each in findings}


async def test_a_primary_that_would_answer_reads_alone_is_found(servers: Servers) -> None:
    node = servers.cluster[0]
    await node.call("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
    try:
        [finding] = await found(settings(servers))
    finally:
        await node.call("CONFIG", "SET", "cluster-allow-reads-when-down", "no")
    assert (finding.check, finding.where) == ("reads-when-down", f"Primary {node.address}")


async def test_an_older_user_gets_a_warning_and_the_map_is_judged_all_the_same(servers: Servers) -> None:
    rule = ["on", ">secret", "~*", "+@all", "-cluster", "+cluster|slots"]
    for node in servers.cluster:
        await node.call("ACL", "SETUSER", "older", *rule)
    try:
        findings = await found(settings(servers, redis_username="older", redis_password="secret"))
    finally:
        for node in servers.cluster:
            await node.call("ACL", "DELUSER", "older")
    assert {(each.check, each.level) for each in findings} == {("rights", Level.WARNING)}
    assert "+cluster|nodes +cluster|info" in findings[0].fix


async def test_nodes_without_a_host_name_are_found(servers: Servers) -> None:
    """`cluster-preferred-endpoint-type hostname` without `cluster-announce-hostname`. The service cannot reach them either."""
    for node in servers.cluster:
        await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    try:
        made = settings(servers)
        findings = await found(made)
        client = make_client(made, metrics=Metrics())
        await client.start()
        try:
            assert not client.shards()
        finally:
            await client.aclose()
    finally:
        for node in servers.cluster:
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
    assert [each.check for each in findings] == ["no-address", "no-address", "slots"]
    assert "cluster-announce-hostname" in findings[0].fix
    assert "ADDSLOTSRANGE" not in findings[2].fix
