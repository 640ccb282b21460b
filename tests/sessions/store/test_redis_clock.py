"""What time it is for sessions."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import pytest

from stateroom.sessions.model.lifetimes import FUTURE_MS
from stateroom.sessions.store.redis_clock import RedisClock


async def compare(clock: RedisClock, redis_seconds: float) -> None:
    """Compare with a Redis whose time is this."""
    client: Any = mock.Mock()
    client.execute = mock.AsyncMock(return_value=(int(redis_seconds), int(redis_seconds % 1 * 1e6)))
    await clock.calibrate(client, "")


def test_a_wall_clock_that_is_set_back_makes_nothing_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RedisClock()
    before = clock.now_ms()
    assert abs(before - time.time() * 1000) < 1000
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 1800)
    assert 0 <= clock.now_ms() - before < 60_000


async def test_redis_time_that_goes_back_is_taken_over_and_told() -> None:
    """Rule 14 of the protocol."""
    clock, told = RedisClock(), list[int]()
    clock.on_step_back(lambda: told.append(clock.now_ms()))
    await compare(clock, 5_000_000)
    assert told  # this host's clock was ahead of that: what was noted by it is forgotten
    assert clock.set_back_ms == 0
    for seconds in (6_000_000, 6_000_000 - (FUTURE_MS - 100) / 1000):  # ahead; back, but no more than clocks differ
        await compare(clock, seconds)
        assert clock.set_back_ms == 0
    assert len(told) == 1
    await compare(clock, 5_990_000)
    assert abs(clock.set_back_ms - 5_990_000_000) < 10_000
    assert abs(clock.now_ms() - clock.set_back_ms) < 10_000
    assert len(told) == 2
    await compare(clock, 6_000_000)
    assert abs(clock.set_back_ms - 5_990_000_000) < 10_000
