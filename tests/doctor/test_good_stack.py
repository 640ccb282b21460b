"""The shipped configuration has no faults, and each fault that a test puts into it is found, with its fix."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stateroom.database import Database
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Level
from stateroom.doctor.stores import Administrator
from stateroom.drills.node import until

from .conftest import Good, found, only, paused


async def test_a_good_stack_has_no_findings(good: Good) -> None:
    report = await examine(good.settings)
    assert report.is_good
    assert [finding.check for finding in report.findings if finding.level is not Level.OK] == ["config-unseen"]
    said = "\n".join(f"{finding.where}: {finding.what}" for finding in report.findings)
    for part in (
        "3 of 3 agree; quorum 2", "epoch 0, names", "2 replicas linked", "min-replicas is on", "AOF is on", "noeviction",
        "every command that the service needs on session:*", "the clocks of 3 servers and of this host",
        "schema", "belong together",
    ):  # fmt: skip
        assert part in said


async def test_an_administrator_sees_the_rest_and_finds_nothing_either(good: Good) -> None:
    report = await examine(good.settings, good.admin)
    assert {finding.level for finding in report.findings} == {Level.OK}
    assert any("appendfsync everysec" in finding.what for finding in report.findings)


async def test_looking_changes_nothing(good: Good, tmp_path: Path) -> None:
    async def state() -> list[object]:
        primary = await good.stack.nodes[0].call("INFO", "keyspace")
        users = [await node.call("ACL", "LIST") for node in good.stack.nodes]
        return [primary.split(b"keys=")[-1].split(b",")[0], users]

    before = await state()
    missing = tmp_path / "not-there.db"
    await examine(good.with_settings(redis_key_prefix="session:nobody", database_url=f"sqlite:///{missing}"), good.admin)
    assert await state() == before
    assert not missing.exists()


@pytest.mark.parametrize(
    ("check", "values", "fix"),
    [
        ("min-replicas", {"min_replicas_to_write": "0"}, "CONFIG SET min-replicas-to-write 1"),
        ("eviction", {"maxmemory_policy": "allkeys-lru"}, "CONFIG SET maxmemory-policy noeviction"),
        ("aof-off", {"appendonly": "no"}, "CONFIG SET appendonly yes"),
    ],
)
async def test_a_server_that_is_configured_wrongly_is_found(good: Good, check: str, values: dict[str, str], fix: str) -> None:
    """The doctor checks replicas too, because one will be the next primary."""
    for node in good.stack.nodes[:2]:
        with good.configured(node, **values):
            finding = await only(good.settings, check)
        assert finding.level is Level.FAULT
        assert fix in finding.fix


async def test_what_only_an_administrator_sees_is_found_too(good: Good) -> None:
    node = good.stack.nodes[1]
    with (
        good.configured(good.stack.nodes[0], min_replicas_max_lag="60"),
        good.configured(node, appendfsync="no", masterauth="other"),
    ):
        findings = await found(good.settings, good.admin)
    assert {finding.check for finding in findings} == {"min-replicas-lag", "appendfsync", "masterauth"}
    assert not any("other" in finding.what.split() for finding in findings)


async def test_rights_that_the_service_lacks_are_found_before_it_needs_them(good: Good) -> None:
    node = good.stack.nodes[2]  # A replica: the service has never sent it a command.
    good.call(node, "ACL", "SETUSER", "stateroom", "-evalsha", "-wait")
    try:
        finding = await only(good.settings, "rights")
    finally:
        good.call(node, "ACL", "SETUSER", "stateroom", "+evalsha", "+wait")
    assert finding.what == "user stateroom may not run EVALSHA, WAIT"
    assert "+evalsha +wait" in finding.fix


async def test_a_missing_right_to_ask_does_not_hide_the_rest(good: Good) -> None:
    node = good.stack.nodes[2]
    good.call(node, "ACL", "SETUSER", "stateroom", "-eval", "-info", "-role", "-time")
    try:
        findings = await found(good.settings)
    finally:
        good.call(node, "ACL", "SETUSER", "stateroom", "+eval", "+info", "+role", "+time")
    assert [(finding.check, finding.level) for finding in findings] == [
        ("no-info", Level.WARNING), ("rights", Level.FAULT), ("rights", Level.WARNING),
    ]  # fmt: skip
    assert "+eval" in findings[1].fix


async def test_another_key_prefix_than_the_acl_has_is_told_as_that(good: Good) -> None:
    findings = await found(good.with_settings(redis_key_prefix="app"))
    assert {finding.check for finding in findings} == {"rights"}
    assert "give it ~app:*" in findings[0].fix


async def test_a_fleet_with_another_database_is_found(good: Good, tmp_path: Path) -> None:
    settings = good.with_settings(database_url=f"sqlite:///{tmp_path}/another.db")
    database = Database(settings)
    await database.upgrade()
    finding = await only(settings, "fleet")  # A database without an id would make a new one.
    await database.aclose()
    assert await only(settings, "fleet") == finding
    assert "set the DATABASE_URL of its other hosts" in finding.fix


async def test_a_sentinel_that_hangs_is_found_soon_and_hides_nothing(good: Good) -> None:
    with paused(good.stack.sentinels[1]):
        report = await examine(good.settings)
    [finding] = [finding for finding in report.findings if finding.level is Level.FAULT]
    assert (finding.check, finding.where) == ("sentinel-unreachable", f"Sentinel {good.settings.redis_sentinels[1]}")
    assert "check that it runs and does not hang" in finding.fix
    assert report.seconds < 15
    assert any(finding.what.startswith("2 replicas linked") for finding in report.findings)


async def test_a_server_that_hangs_is_found_soon_and_hides_nothing(good: Good) -> None:
    hung = good.stack.nodes[2]
    with paused(hung):
        report = await examine(good.settings)
    [address] = [
        relay.at for relay, node in zip(good.stack.relays, [*good.stack.nodes, *good.stack.sentinels], strict=True) if node is hung
    ]
    [finding] = [each for each in report.findings if each.where == f"Replica {address}"]
    assert finding.level is Level.FAULT
    assert "does not answer in time" in finding.what
    assert "hang" in finding.fix or "start it" in finding.fix
    assert report.seconds < 15
    await good_again(good)


async def test_a_replica_that_cannot_follow_is_found(good: Good) -> None:
    replica = good.stack.nodes[1]
    with good.configured(replica, masterauth="wrong"):
        good.call(replica, "CLIENT", "KILL", "TYPE", "MASTER")

        async def is_cut_off() -> bool:
            return b"master_link_status:down" in await replica.call("INFO", "replication")

        await until(is_cut_off, "the replica has no link")
        findings = {finding.check: finding for finding in await found(good.settings)}
    await good_again(good)
    assert findings.keys() >= {"replica-not-linked", "one-replica"}
    assert "masterauth" in findings["replica-not-linked"].fix


async def test_a_wrong_password_is_one_line_for_each_server(good: Good) -> None:
    findings = await found(good.with_settings(redis_password="not-this-one"))
    assert [finding.check for finding in findings] == ["server-credentials"] * 3
    assert "REDIS_PASSWORD" in findings[0].fix
    assert not any("not-this-one" in f"{finding.what}{finding.fix}" for finding in findings)


async def test_a_wrong_administrator_is_told_as_that(good: Good) -> None:
    findings = await found(good.settings, Administrator("drill", "not-this-one"))
    assert {finding.fix for finding in findings} == {"correct --admin and its password"}


async def test_a_name_that_the_sentinels_do_not_know_is_told_with_those_they_do(good: Good) -> None:
    findings = await found(good.with_settings(redis_master_name="other"))
    assert [finding.check for finding in findings] == ["master-name"] * 3 + ["no-sentinel"]
    assert "it knows mymaster" in findings[0].what


async def test_addresses_that_lead_nowhere_are_lines_with_a_mend(good: Good, free_address: str) -> None:
    listed = f"no-such-name.invalid:26379, {free_address}, [::1]:{free_address.split(':')[1]}"
    findings = await found(good.with_settings(redis_sentinels=listed))
    assert [finding.check for finding in findings] == ["sentinel-unreachable"] * 3 + ["no-sentinel"]
    assert "does not resolve" in findings[0].what
    assert "nothing listens" in findings[1].what
    assert all(finding.fix for finding in findings)


async def test_a_sentinel_named_twice_counts_double_and_one_left_out_is_missed(good: Good) -> None:
    first, second, third = good.settings.redis_sentinels
    twice = {finding.check for finding in await found(good.with_settings(redis_sentinels=f"{first}, {second}, {second}"))}
    assert "sentinel-twice" in twice
    finding = await only(good.with_settings(redis_sentinels=f"{first}, {second}"), "sentinel-unlisted")
    assert str(third) in finding.what


async def test_more_replicas_are_waited_for_than_there_are(good: Good) -> None:
    finding = await only(good.with_settings(redis_write_replicas=3), "write-replicas")
    assert finding.level is Level.WARNING


async def good_again(good: Good) -> None:
    """Wait on the servers' event loop."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(good.stack.all_well(), good.thread._loop))
    await until(lambda: _is_good(good), "the stack has no faults")


async def _is_good(good: Good) -> bool:
    return not await found(good.settings)
