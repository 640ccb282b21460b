"""Clocks that differ: a real server whose clock is wrong, and the choice of the clock that counts as right."""

from __future__ import annotations

from pathlib import Path

import pytest

from stateroom.doctor.clocks import ServerClock, judge_clocks
from stateroom.doctor.findings import Level
from stateroom.drills import topology
from stateroom.drills.node import server_binary

from ..conftest import require_tool
from .conftest import only, sentinel_settings


def with_another_clock(folder: Path, seconds: int) -> str:
    """A program that runs the server with a clock that is so many seconds ahead."""
    require_tool("faketime")
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    path = folder / "server-on-another-clock"
    path.write_text(
        f'#!/bin/sh\nLD_PRELOAD={library} FAKETIME={seconds:+d}s DONT_FAKE_MONOTONIC=1 exec {server_binary()} "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize("seconds", [5, -5])
async def test_a_clock_that_is_5_s_off_is_found(tmp_path: Path, seconds: int) -> None:
    options = {"appendonly": "yes"}
    async with topology.single(tmp_path / "node", binary=with_another_clock(tmp_path, seconds), options=options) as node:
        settings = sentinel_settings([], redis_mode="single", redis_host=node.host, redis_port=node.port, database_url=None)
        finding = await only(settings, "clock")
    assert finding.level is Level.FAULT
    assert f"5.0 s {'ahead of' if seconds > 0 else 'behind'} this host" in finding.what
    assert "NTP" in finding.fix


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ({"a": 0.3, "b": -0.2, "c": 0.9}, []),
        ({"a": 5.0, "b": 0.0, "c": 0.1}, [(Level.FAULT, "a is 5.0 s ahead of the others")]),
        ({"a": 0.0, "b": 0.0, "c": -1.5}, [(Level.WARNING, "c is 1.5 s behind the others")]),
        ({"a": 3.0, "b": 3.1, "c": 3.0}, [(Level.FAULT, "this host is 3.0 s behind the others")]),
        ({"a": -4.0}, [(Level.FAULT, "a is 4.0 s behind this host")]),
        ({}, []),
    ],
)
def test_the_clock_that_is_off_is_named(offsets: dict[str, float], expected: list[tuple[Level, str]]) -> None:
    clocks = {name: ServerClock(ahead) for name, ahead in offsets.items()}
    findings = [finding for finding in judge_clocks(clocks) if finding.level is not Level.OK]
    assert [(finding.level, finding.what.split(":")[0]) for finding in findings] == expected


@pytest.mark.parametrize(
    ("is_replica", "effect"),
    [(False, "expire that much too early, at once"), (True, "after a failover to it, sessions expire that much")],
)
def test_the_effect_is_told_for_the_part_that_the_server_has(effect: str, *, is_replica: bool) -> None:
    [finding] = judge_clocks({"a": ServerClock(5.0, is_replica=is_replica)})
    assert effect in finding.what
    assert ("failover to it" in finding.what) is is_replica


def test_a_wrong_clock_of_this_host_ends_no_session_in_redis() -> None:
    [finding] = judge_clocks(dict.fromkeys("abc", ServerClock(5.0)))
    assert "this host can judge the age of cookies wrongly" in finding.what


async def test_a_server_that_may_not_be_asked_the_time_is_a_missing_right(tmp_path: Path) -> None:
    lines = ["user app on >secret ~session:* &* +@all -time"]
    async with topology.single(tmp_path, lines=lines, options={"appendonly": "yes"}) as node:
        finding = await only(sentinel_settings([], redis_url=f"redis://app:secret@{node.address}", database_url=None), "rights")
    assert "+time" in finding.fix
