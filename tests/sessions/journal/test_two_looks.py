"""When a row is due for certain. Rule 14 of the protocol."""

from __future__ import annotations

import time

import pytest

from stateroom.sessions.journal.two_looks import AGREE_SECONDS, JUMP_SECONDS, TwoLooks

from ...logs import capture_events

APART_SECONDS = 100.0
ALL = ("here", "database", "redis")


class Clocks:
    """The three that are compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.here, self.database, self.redis = 1000.0, 5_000_000.0, 5_000_001.0, 5_000_002.0
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(time, "time", lambda: self.here)
        self.looks = TwoLooks(APART_SECONDS)

    def jump(self, seconds: float, *clocks: str) -> None:
        for clock in clocks:
            setattr(self, clock, getattr(self, clock) + seconds)

    def look(self, *, after: float) -> float | None:
        """The time by which a row must have been due, in seconds."""
        self.monotonic += after
        self.jump(after, *ALL)
        due_at = self.looks.look(database_ms=int(self.database * 1000), redis_ms=int(self.redis * 1000))
        return None if due_at is None else due_at / 1000


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_it_was_due_at_the_first_of_two_looks_that_lie_far_apart(clocks: Clocks) -> None:
    """By the database's clock."""
    assert clocks.look(after=0) is None
    assert clocks.look(after=APART_SECONDS - 1) is None
    assert clocks.look(after=1) == 5_000_001
    assert clocks.look(after=APART_SECONDS - 1) is None
    assert clocks.look(after=1) == 5_000_001 + APART_SECONDS


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, JUMP_SECONDS + 1])
def test_a_jump_of_all_clocks_begins_anew(clocks: Clocks, seconds: float) -> None:
    clocks.look(after=0)
    clocks.jump(seconds, *ALL)
    assert clocks.look(after=APART_SECONDS) is None
    assert clocks.look(after=APART_SECONDS - 1) is None
    assert clocks.look(after=1) == 5_000_001 + APART_SECONDS + seconds


@pytest.mark.parametrize("clock", ALL)
def test_a_small_jump_of_one_clock_begins_anew(clocks: Clocks, clock: str) -> None:
    clocks.look(after=0)
    clocks.jump(JUMP_SECONDS + 1, clock)
    assert clocks.look(after=APART_SECONDS) is None
    assert clocks.look(after=APART_SECONDS) is not None


@pytest.mark.parametrize("clock", ALL)
@pytest.mark.parametrize("seconds", [AGREE_SECONDS + 3, -AGREE_SECONDS - 3])
def test_nothing_is_due_while_clocks_disagree(clocks: Clocks, clock: str, seconds: float) -> None:
    """One of them is wrong, and nobody knows which. The log says so once."""
    clocks.jump(seconds, clock)
    with capture_events() as logs:
        for _ in range(5):
            assert clocks.look(after=APART_SECONDS) is None
        clocks.jump(-seconds, clock)
        assert clocks.look(after=APART_SECONDS) is None
        assert clocks.look(after=APART_SECONDS) is not None
    assert [entry["event"] for entry in logs] == ["clocks_differ"]
    assert "NTP" in logs[0]["fix"]


def test_a_clock_that_is_slewed_is_not_one_that_jumps(clocks: Clocks) -> None:
    clocks.look(after=0)
    clocks.jump(JUMP_SECONDS - 0.5, "here")
    clocks.jump(0.5 - JUMP_SECONDS, "redis")
    assert clocks.look(after=APART_SECONDS) == 5_000_001
