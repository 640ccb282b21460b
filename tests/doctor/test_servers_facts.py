"""Findings that are hard to cause on a real server: a broken disk, full memory, an old version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from stateroom.doctor.findings import Finding, Level
from stateroom.doctor.replication import judge_min_replicas, judge_primary, judge_replica, judge_together
from stateroom.doctor.servers import Server
from stateroom.doctor.upkeep import judge_upkeep

from .facts import primary, replica, settings


def bad(findings: Iterable[Finding]) -> list[tuple[str, Level]]:
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.fix for finding in found)
    return [(finding.check, finding.level) for finding in found]


def test_good_servers_have_no_findings() -> None:
    assert bad(judge_upkeep(primary())) == bad(judge_primary(primary(), settings())) == bad(judge_min_replicas(primary())) == []
    assert bad(judge_replica(replica())) == bad(judge_together([primary(), replica(2), replica(3)])) == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "6.2.7"}, ("version", Level.FAULT)),
        ({"rdb_last_bgsave_status": "err"}, ("bgsave-failed", Level.FAULT)),
        ({"aof_last_write_status": "err"}, ("aof-write-failed", Level.FAULT)),
        ({"aof_last_bgrewrite_status": "err"}, ("aof-rewrite-failed", Level.WARNING)),
        ({"maxmemory": "1200"}, ("memory", Level.WARNING)),
        ({"maxmemory": "1001"}, ("memory", Level.FAULT)),
        ({"total_system_memory": "1100"}, ("memory", Level.WARNING)),
    ],
)
def test_what_will_stop_writes_or_lose_them_is_found(info: dict[str, str], expected: tuple[str, Level]) -> None:
    assert bad(judge_upkeep(primary(info))) == [expected]


def test_a_server_without_a_log_says_whether_snapshots_are_left() -> None:
    [with_them] = [each.what for each in judge_upkeep(primary({"aof_enabled": "0"}, config={"save": "3600 1"})) if each.check]
    [without] = [each.what for each in judge_upkeep(primary({"aof_enabled": "0"}, config={"save": ""})) if each.check]
    assert "with snapshots only" in with_them
    assert "no snapshots are taken" in without


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"connected_slaves": "0"}, ("no-replica", Level.FAULT)),
        ({"connected_slaves": "1"}, ("one-replica", Level.WARNING)),
        ({"slave0": "ip=10.0.0.2,port=6379,state=online,offset=5,lag=4"}, ("lag", Level.WARNING)),
        ({"slave0": "ip=10.0.0.2,port=6379,state=online,offset=5,lag=12"}, ("lag", Level.FAULT)),
        ({"slave0": "ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0"}, ("one-replica", Level.WARNING)),
    ],
)
def test_replicas_that_are_missing_or_behind_are_found(info: dict[str, str], expected: tuple[str, Level]) -> None:
    assert bad(judge_primary(primary(info), settings())) == [expected]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (primary({"min_slaves_good_slaves": "0"}), [("min-replicas-unmet", Level.FAULT)]),
        (replica(2, {"min_slaves_good_slaves": "0"}), []),
        (primary(config={"min-replicas-to-write": "2", "min-replicas-max-lag": "10"}), [("min-replicas-tight", Level.WARNING)]),
        (primary(config={"min-replicas-to-write": "1", "min-replicas-max-lag": "30"}), [("min-replicas-lag", Level.WARNING)]),
    ],
)
def test_how_a_primary_guards_itself_is_judged(server: Server, expected: list[Any]) -> None:
    assert bad(judge_min_replicas(server)) == expected


def test_what_must_be_alike_is_compared() -> None:
    alike = {"masteruser": "replica", "masterauth": "a"}
    servers = [primary(config={"masteruser": "", "masterauth": ""}), replica(2, config=alike), replica(3, config=alike)]
    assert bad(judge_together(servers)) == [("masterauth", Level.FAULT)]
    never = [primary(), replica(2, {"slave_priority": "0"}), replica(3, {"slave_priority": "0"})]
    assert bad(judge_together(never)) == [("priority", Level.FAULT)]
    assert bad(judge_together([primary(), replica(2, {"slave_priority": "0"}), replica(3)])) == []
    assert bad(judge_together([primary({"maxmemory": "9"}), replica()])) == [("maxmemory-differs", Level.WARNING)]
    assert bad(judge_together([primary({"valkey_version": "9.0.0"}), replica()])) == [("versions-differ", Level.WARNING)]


def test_a_replica_that_may_be_written_to_is_found() -> None:
    assert bad(judge_replica(replica(2, {"slave_read_only": "0"}))) == [("replica-writable", Level.WARNING)]


def test_a_server_that_tells_nothing_is_judged_by_nothing() -> None:
    silent = Server("Primary 10.0.0.1:6379", None, "no TLS")
    assert [*judge_upkeep(silent), *judge_primary(silent, settings()), *judge_min_replicas(silent), *judge_replica(silent)] == []
