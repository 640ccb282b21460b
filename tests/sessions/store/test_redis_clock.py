"""What time it is for sessions."""

from __future__ import annotations

import time

import pytest

from stateroom.sessions.store.redis_clock import RedisClock


def test_a_wall_clock_that_is_set_back_makes_nothing_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RedisClock()
    before = clock.now_ms()
    assert abs(before - time.time() * 1000) < 1000
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 1800)
    assert 0 <= clock.now_ms() - before < 60_000
