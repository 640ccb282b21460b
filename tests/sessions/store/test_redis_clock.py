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


class FarRedis:
    """A Redis with this host's clock. `there`, `back`: how many seconds a question and its reply take. `ahead`: its clock's."""

    def __init__(self) -> None:
        self.now, self.there, self.back, self.ahead = 1_000.0, 0.0, 0.0, 0.0

    def seconds(self) -> float:
        return 1_800_000_000 + self.now + self.ahead

    async def execute(self, *_command: str) -> tuple[int, int]:
        self.now += self.there
        said = self.seconds()
        self.now += self.back
        return int(said), round(said % 1 * 1e6)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarRedis:
    redis = FarRedis()
    monkeypatch.setattr(time, "monotonic", lambda: redis.now)
    return redis


@pytest.mark.parametrize(("there", "back"), [(0.4, 0.0), (0.0, 0.4), (0.1, 0.1), (0.0, 0.0)])
async def test_a_deadline_is_never_later_than_its_caller_waits(far: FarRedis, there: float, back: float) -> None:
    """Else a claim could run after the old session was deleted, and it would delete the new one."""
    client: Any = far
    clock, (far.there, far.back) = RedisClock(), (there, back)
    await clock.calibrate(client, "")
    for _ in range(100):  # the comparison gets old, and Redis' clock is slow
        assert clock.latest_ms(1.0) <= (far.seconds() + 1.0) * 1000 + 1  # rounded to whole milliseconds
        far.now += 10
        far.ahead -= 10 * 0.0005


async def test_one_late_reply_does_not_spoil_the_clock(far: FarRedis) -> None:
    client: Any = far
    clock, far.there = RedisClock(), 0.4
    await clock.calibrate(client, "")  # the first one counts, whatever it took
    assert abs(clock.now_ms() - far.seconds() * 1000) <= 201
    far.there = 0.002
    await clock.calibrate(client, "")
    assert abs(clock.now_ms() - far.seconds() * 1000) <= 2
    far.there = 0.4
    await clock.calibrate(client, "")
    assert abs(clock.now_ms() - far.seconds() * 1000) <= 2
    for _ in range(300):  # the way to Redis stays long, and the clocks drift apart
        far.now += 1
        far.ahead += 0.0005
        await clock.calibrate(client, "")
        assert abs(clock.now_ms() - far.seconds() * 1000) <= clock.uncertainty_ms() + 1


async def test_a_clock_that_is_set_is_noticed_by_a_late_reply_too(far: FarRedis) -> None:
    client: Any = far
    clock, far.there = RedisClock(), 0.002
    await clock.calibrate(client, "")
    far.there, far.ahead = 0.4, -60.0
    await clock.calibrate(client, "")
    assert abs(clock.now_ms() - far.seconds() * 1000) <= 201
    assert clock.set_back_from_ms > clock.set_back_ms > 0
