"""Stacks with faults from the beginning: addresses behind NAT, Sentinels that disagree, no shipped configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stateroom.doctor import proof, stores
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Level
from stateroom.doctor.proof import find_proofs
from stateroom.drills import topology
from stateroom.settings import Address

from ..patience import PATIENCE_SECONDS
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


async def test_servers_that_have_just_died_have_no_wrong_address(tmp_path: Path) -> None:
    """Until down-after has passed, the Sentinels list them as before."""
    async with topology.sentinels(tmp_path, down_after_ms=60_000) as setup:
        for node in setup.nodes:
            await node.kill()
        findings = [
            each for each in await found(sentinel_settings(setup.sentinels)) if each.where.startswith(("Primary", "Replica"))
        ]
    assert [each.check for each in findings] == ["server-unreachable"] * len(setup.nodes)
    for each in findings:
        assert each.fix.startswith("start it")
        assert "announce" not in each.fix


async def test_a_server_that_is_restarted_meanwhile_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with topology.sentinels(tmp_path, down_after_ms=60_000) as setup:
        replica = setup.nodes[1]
        await replica.kill()

        async def after_its_start(*given: Any) -> dict[Address, str]:
            await replica.start()
            return await find_proofs(*given)

        monkeypatch.setattr(stores, "find_proofs", after_its_start)
        monkeypatch.setattr(proof, "PROOF_SECONDS", PATIENCE_SECONDS)
        findings = (await examine(sentinel_settings(setup.sentinels))).findings
    about = [each for each in findings if each.where == f"Replica {replica.address}"]
    assert [each for each in about if each.what.startswith("Valkey")]
    assert not {"announced-address", "server-unreachable"} & {each.check for each in about}
