"""Slow Sentinels, servers and user databases are found exactly where the service suffers from them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from stateroom.backend.dial import Dialer
from stateroom.backend.sentinel import SentinelWatcher
from stateroom.database import Database
from stateroom.doctor.findings import Finding, Level
from stateroom.doctor.round_trips import RoundTrips, judge_round_trips, look_at_round_trips
from stateroom.doctor.servers import Server
from stateroom.drills.postgres import Postgres
from stateroom.intervals import longest_round_trip, settles
from stateroom.settings import Address
from stateroom.telemetry.metrics import Metrics

from ..delays import DelayingRelay
from ..patience import PATIENCE_SECONDS
from ..servers import Servers
from .facts import settings


def judged(trips: RoundTrips, **values: object) -> list[Finding]:
    return judge_round_trips(trips, settings(**{"database_url": "sqlite:///x.db", **values}))


def sentinels(*took: float) -> RoundTrips:
    return RoundTrips({f"Sentinel {number}": each for number, each in enumerate(took)})


def test_quick_replies_are_one_line() -> None:
    [finding] = judged(RoundTrips({"a": 0.001, "b": 0.002, "c": 0.001}, {"d": 0.003}, 0.004))
    assert (finding.level, finding.what) == (
        Level.OK, "Sentinels up to 0.002 s; servers up to 0.003 s; a read of the journal up to 0.004 s",
    )  # fmt: skip
    assert judged(RoundTrips()) == []


def test_slow_sentinels_are_a_fault_that_names_the_value() -> None:
    [finding] = judged(sentinels(0.3, 0.33, 0.31))
    assert (finding.level, finding.check) == (Level.FAULT, "slow-sentinels")
    assert "up to 0.31 s; JOURNAL_LEASE 0.5 s allows 0.28 s" in finding.what
    assert "stop every worker, run `stateroom db lease 0.7`, set JOURNAL_LEASE=0.7 for every worker" in finding.fix
    [there_is_no_database] = judged(sentinels(0.3, 0.33, 0.31), database_url="none")
    assert "db lease" not in there_is_no_database.fix


@pytest.mark.parametrize("lease", [0.4, 0.5, 1, 10])
def test_the_limit_is_the_services_own(lease: float) -> None:
    limit = longest_round_trip(lease)
    for took, is_fault in ((limit - 0.001, False), (limit + 0.001, True)):
        findings = judged(sentinels(0.0, took, took), journal_lease=lease)
        assert ("slow-sentinels" in {finding.check for finding in findings if finding.level is Level.FAULT}) is is_fault
        assert is_fault is not settles(took, lease)


def test_one_slow_sentinel_of_three_is_a_warning() -> None:
    [finding] = judged(sentinels(0.01, 0.4, 0.01))
    assert (finding.level, finding.check, finding.where) == (Level.WARNING, "slow-sentinels", "Sentinel 1")
    assert "0.9" in finding.fix


def test_too_few_sentinels_are_not_judged() -> None:
    assert "slow-sentinels" not in {finding.check for finding in judged(sentinels(5.0))}


def test_the_value_is_for_a_majority_of_the_sentinels() -> None:
    """Redis settles with the quickest majority. The third Sentinel is a warning after the fix, as before it."""
    [finding] = judged(sentinels(0.35, 0.35, 9.0))
    assert "run `stateroom db lease 0.8`" in finding.fix
    [after] = judged(sentinels(0.35, 0.35, 9.0), journal_lease=0.8)
    assert (after.level, after.where) == (Level.WARNING, "Sentinel 2")
    assert "no value of JOURNAL_LEASE fits" in after.fix


def test_a_slow_sentinel_does_not_hide_the_value_for_a_slow_journal() -> None:
    trips = sentinels(0.01, 0.01, 9.0)
    trips.read = 0.4
    findings = {finding.check: finding for finding in judged(trips)}
    assert "run `stateroom db lease 1.3`" in findings["slow-journal"].fix


def test_if_no_lease_fits_the_fix_says_so() -> None:
    [finding] = judged(sentinels(9.0, 9.0, 9.0))
    assert "no value of JOURNAL_LEASE fits" in finding.fix
    assert "db lease" not in finding.fix


@pytest.mark.parametrize(("took", "level"), [(0.06, None), (0.1, Level.WARNING), (0.3, Level.FAULT)])
def test_slow_servers(took: float, level: Level | None) -> None:
    findings = [finding for finding in judged(RoundTrips({}, {"Primary a": took})) if finding.check == "slow-servers"]
    assert [finding.level for finding in findings] == ([] if level is None else [level])


def test_slow_servers_get_a_value_that_is_long_enough() -> None:
    [finding] = judged(RoundTrips({}, {"Primary a": 0.1}))
    assert "REDIS_READ_TIMEOUT to at least 1.1" in finding.fix
    [found] = judged(RoundTrips({}, {"Primary a": 0.1}), redis_read_timeout=1.1)
    assert found.level is Level.OK


@pytest.mark.impatient
@pytest.mark.parametrize(("took", "level"), [(0.23, None), (0.25, Level.WARNING), (1.0, Level.FAULT)])
def test_a_slow_journal(took: float, level: Level | None) -> None:
    findings = [finding for finding in judged(RoundTrips({}, {}, took)) if finding.check == "slow-journal"]
    assert [finding.level for finding in findings] == ([] if level is None else [level])


@contextlib.asynccontextmanager
async def far_away(targets: Sequence[Address], round_trip: float) -> AsyncIterator[list[Address]]:
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(DelayingRelay(target, round_trip)) for target in targets]
        yield [relay.at for relay in relays]


@pytest.mark.parametrize(("round_trip", "lease"), [(0.02, 0.4), (0.1, 0.5), (0.32, 0.5), (0.32, 1), (0.64, 2)])
async def test_doctor_finds_a_fault_exactly_if_the_service_does_not_settle(
    servers: Servers, round_trip: float, lease: float
) -> None:
    async with far_away([node.address for node in servers.sentinel.sentinels], round_trip) as addresses:
        own = settings(
            redis_sentinels=",".join(map(str, addresses)), journal_lease=lease, redis_read_timeout=2, redis_dial_timeout=2
        )
        findings = await look_at_round_trips(own, [], has_journal=False)
        watcher = SentinelWatcher(
            addresses, "mymaster", Dialer(2, 2), Metrics(), lease_seconds=lease, on_switch=lambda _: None, on_update=lambda: None
        )
        await watcher.start()
        until = time.monotonic() + (PATIENCE_SECONDS if settles(round_trip, lease) else 4 * lease + 2)
        while time.monotonic() < until and time.monotonic() >= watcher.believed_until:
            await asyncio.sleep(0.02)
        is_settled = time.monotonic() < watcher.believed_until
        await watcher.aclose()
    assert is_settled is settles(round_trip, lease)
    assert ("slow-sentinels" not in {finding.check for finding in findings}) is is_settled


async def test_a_slow_server_is_measured(servers: Servers) -> None:
    async with far_away([servers.valkey.address], 0.2) as [address]:
        own = settings(redis_mode="single", redis_sentinels="", redis_host=address.host, redis_port=address.port)
        findings = await look_at_round_trips(own, [Server("Server x", address, "no TLS")], has_journal=False)
    assert [(finding.check, finding.where) for finding in findings] == [("slow-servers", "Server x")]


async def test_a_slow_user_database_is_measured(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stateroom.database.database.CONNECT_TIMEOUT_SECONDS", 7)  # the machine may stand still meanwhile
    url = postgres.make_database()
    own = settings(redis_mode="single", redis_sentinels="", database_url=url)
    database = Database(own)
    await database.upgrade()
    await database.aclose()
    async with far_away([Address("127.0.0.1", postgres.port)], 0.12) as [address]:
        relayed = url.replace(f":{postgres.port}/", f":{address.port}/")
        assert relayed != url
        own = settings(redis_mode="single", redis_sentinels="", database_url=relayed)
        [finding] = await look_at_round_trips(own, [], has_journal=True)
    assert finding.check == "slow-journal"
