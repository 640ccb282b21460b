"""Stacks with faults from the beginning: addresses behind NAT, Sentinels that disagree, no shipped configuration."""

from __future__ import annotations

from stateroom.doctor.findings import Level

from .conftest import FaultyStack, found, only, sentinel_settings


async def test_an_announced_address_that_leads_nowhere_is_found(faulty: FaultyStack) -> None:
    findings = {finding.check: finding for finding in await found(faulty.settings())}
    finding = findings["announced-address"]
    assert finding.level is Level.FAULT
    assert finding.where.startswith("Replica 127.0.0.9:")
    assert "the server replicates" in finding.what
    assert "replica-announce-ip" in finding.fix


async def test_sentinels_that_disagree_are_found(faulty: FaultyStack) -> None:
    findings = await found(faulty.settings())
    [finding] = [finding for finding in findings if finding.check == "disagrees"]
    assert finding.where == f"Sentinel {faulty.sentinels[2].address}"
    assert f"it names {faulty.lone.address}" in finding.what
    assert str(faulty.primary.address) in finding.what
    assert "no-majority" not in {finding.check for finding in findings}


async def test_without_a_majority_nobody_is_believed(faulty: FaultyStack) -> None:
    findings = await found(sentinel_settings([faulty.sentinels[0], faulty.sentinels[2]]))
    assert "no-majority" in {finding.check for finding in findings}


async def test_two_sentinels_are_too_few(faulty: FaultyStack) -> None:
    settings = sentinel_settings(faulty.sentinels[:2])
    findings = {finding.check: finding for finding in await found(settings)}
    assert findings.keys() >= {"few-sentinels", "down-after", "min-replicas", "aof-off", "no-journal"}
    assert "run three" in findings["few-sentinels"].fix


async def test_a_replica_named_as_the_single_server_is_found(faulty: FaultyStack) -> None:
    settings = sentinel_settings([], redis_mode="single", redis_host=faulty.hidden.host, redis_port=faulty.hidden.port)
    findings = {finding.check: finding for finding in await found(settings)}
    assert "name its primary" in findings["role"].fix


async def test_a_sentinel_named_as_the_server_is_found(faulty: FaultyStack) -> None:
    node = faulty.sentinels[0]
    settings = sentinel_settings([], redis_mode="single", redis_host=node.host, redis_port=node.port, database_url=None)
    finding = await only(settings, "mode")
    assert "REDIS_SENTINELS" in finding.fix


async def test_a_server_named_as_a_sentinel_is_found(faulty: FaultyStack) -> None:
    findings = await found(sentinel_settings([faulty.primary]))
    assert [finding.check for finding in findings] == ["sentinel-unreachable", "no-sentinel", "no-journal"]
    assert "check that a Sentinel runs there" in findings[0].fix


async def test_a_port_without_redis_is_a_line_with_a_mend(free_address: str) -> None:
    host, port = free_address.split(":")
    settings = sentinel_settings([], redis_mode="single", redis_host=host, redis_port=int(port), database_url=None)
    finding = await only(settings, "server-unreachable")
    assert "start it" in finding.fix
