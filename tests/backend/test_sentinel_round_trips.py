"""Real Sentinels behind relays that delay: with which round trips and leases a worker settles."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stateroom.backend.dial import Dialer
from stateroom.backend.one_sentinel import SPARE_QUESTIONS, Sentinel
from stateroom.backend.sentinel import SentinelWatcher
from stateroom.backend.sentinel_client import SentinelClient
from stateroom.intervals import ask_timeout, interval, settles
from stateroom.settings import DEFAULT_LEASE_SECONDS, Address
from stateroom.telemetry.metrics import Metrics

from ..delays import DelayingRelay
from ..logs import capture_events
from ..patience import PATIENCE_SECONDS
from ..servers import AS_USERS_HAVE_IT, Servers

LOOK_SECONDS = 0.02


@contextlib.asynccontextmanager
async def far_away(servers: Servers, *round_trips: float) -> AsyncIterator[list[DelayingRelay]]:
    """The three Sentinels, each behind a relay."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(DelayingRelay(sentinel.address, round_trip))
            for sentinel, round_trip in zip(servers.sentinel.sentinels, round_trips, strict=True)
        ]


@contextlib.asynccontextmanager
async def watching(relays: list[DelayingRelay], *, lease: float, timeout: float) -> AsyncIterator[SentinelWatcher]:
    watcher = SentinelWatcher(
        [relay.at for relay in relays], "mymaster", Dialer(timeout, timeout), Metrics(), lease_seconds=lease,
        on_switch=lambda _: None, on_update=lambda: None,
    )  # fmt: skip
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.aclose()


async def stays(condition: Callable[[], bool], seconds: float) -> None:
    """Return when the condition was true for so long without a gap."""
    since: float | None = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while since is None or time.monotonic() - since < seconds:
            if not condition():
                since = None
            elif since is None:
                since = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)


async def never(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not condition()
        await asyncio.sleep(LOOK_SECONDS)


async def patiently(attempt: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await attempt()


@pytest.mark.parametrize(
    ("round_trip", "lease", "timeout"),
    [(0.02, 0.4, 0.5), (0.2, 0.5, 0.5), (0.32, 1, 0.5), (0.64, 2, 1)],
)
async def test_a_worker_settles_with_a_lease_that_fits(servers: Servers, round_trip: float, lease: float, timeout: float) -> None:
    assert settles(round_trip, lease)
    async with far_away(servers, *[round_trip] * 3) as relays, watching(relays, lease=lease, timeout=timeout) as watcher:
        await stays(lambda: time.monotonic() < watcher.believed_until, 2 * lease)


@pytest.mark.parametrize(("round_trip", "lease", "timeout"), [(0.32, 0.5, 0.5), (0.64, 0.5, 1)])
async def test_with_a_lease_that_is_too_short_a_worker_knows_the_primary_and_never_settles(
    servers: Servers, round_trip: float, lease: float, timeout: float
) -> None:
    assert not settles(round_trip, lease)
    async with far_away(servers, *[round_trip] * 3) as relays, watching(relays, lease=lease, timeout=timeout) as watcher:
        await patiently(watcher.locate)
        assert watcher.primary is not None
        await never(lambda: time.monotonic() < watcher.believed_until, 4 * lease)
        assert all(sentinel.answer is not None for sentinel in watcher.sentinels), "they reply, only too late"


async def test_one_sentinel_that_is_too_far_away_keeps_no_worker_from_settling(servers: Servers) -> None:
    async with far_away(servers, 0.0, 0.01, 0.4) as relays, watching(relays, lease=0.5, timeout=0.5) as watcher:
        await stays(lambda: time.monotonic() < watcher.believed_until, 1)


async def test_slow_sentinels_make_redis_unsettled_and_not_unavailable(servers: Servers) -> None:
    """With the defaults Redis was unavailable from 320 ms on: no Sentinel could be connected to in time."""
    async with far_away(servers, *[0.32] * 3) as relays:
        settings = servers.settings("sentinel", redis_sentinels=",".join(str(relay.at) for relay in relays), **AS_USERS_HAVE_IT)
        client = SentinelClient(settings, Metrics())
        await client.start()
        try:
            await stays(lambda: client.is_available and client.is_connected, 2)
            assert await client.execute("", "PING") == b"PONG"
            assert not client.standing("").is_believed
        finally:
            await client.aclose()


async def test_a_slow_sentinel_is_logged_once_with_a_fix(servers: Servers) -> None:
    with capture_events() as events:
        async with far_away(servers, 0.0, 0.0, 0.4) as relays, watching(relays, lease=0.5, timeout=1):
            own = str(relays[2].at)
            await stays(lambda: any(event["event"] == "sentinel_slow" and event["sentinel"] == own for event in events), 1)
    [line] = [event for event in events if event["event"] == "sentinel_slow" and event["sentinel"] == own]
    assert line["seconds"] >= 0.4
    assert line["allowed"] == 0.28
    assert "stateroom doctor" in line["fix"]


async def test_the_questions_under_way_are_bounded(servers: Servers) -> None:
    sentinel_node = servers.sentinel.sentinels[0]
    answered = asyncio.Event()
    async with DelayingRelay(sentinel_node.address, 0.0) as relay:
        sentinel = Sentinel(Address(*relay.at), "mymaster", Dialer(1, 1), answered.set, lease_seconds=DEFAULT_LEASE_SECONDS)
        await sentinel.start()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await answered.wait()
            relay.round_trip = 100.0
            most = ask_timeout(DEFAULT_LEASE_SECONDS, 1) / interval(DEFAULT_LEASE_SECONDS) + SPARE_QUESTIONS
            for _ in range(10 * round(most)):
                sentinel.ask_now()
                await asyncio.sleep(0)
            assert 1 < len(sentinel._questions) <= most
            async with asyncio.timeout(PATIENCE_SECONDS):
                while sentinel.answer is not None:
                    answered.clear()
                    await answered.wait()
            assert "did not reply" in sentinel.fault
        finally:
            await sentinel.aclose()
        assert not sentinel._questions
