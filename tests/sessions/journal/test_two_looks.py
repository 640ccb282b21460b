"""When a row is due for certain. Rule 14 of the protocol."""

from __future__ import annotations

import time

import pytest

from stateroom.sessions.journal.two_looks import JUMP_SECONDS, TwoLooks

APART_SECONDS = 100.0


class Clocks:
    """The three that are compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall, self.rows = 1000.0, 5_000_000.0, 6_000_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(time, "time", lambda: self.wall)
        self.looks = TwoLooks(APART_SECONDS)

    def look(self, *, after: float, wall_jump: float = 0.0, rows_jump: float = 0.0) -> float | None:
        """The time by which a row must have been due, in seconds."""
        self.monotonic += after
        self.wall += after + wall_jump
        self.rows += after + rows_jump
        due_at = self.looks.look(int(self.rows * 1000))
        return None if due_at is None else due_at / 1000


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_it_was_due_at_the_first_of_two_looks_that_lie_far_apart(clocks: Clocks) -> None:
    assert clocks.look(after=0) is None
    assert clocks.look(after=APART_SECONDS - 1) is None
    assert clocks.look(after=1) == 6_000_000
    assert clocks.look(after=APART_SECONDS - 1) is None
    assert clocks.look(after=1) == 6_000_000 + APART_SECONDS


@pytest.mark.parametrize("jump", [3600.0, -3600.0, JUMP_SECONDS + 1])
@pytest.mark.parametrize("which", ["wall_jump", "rows_jump"])
def test_a_jump_of_a_clock_begins_anew(clocks: Clocks, which: str, jump: float) -> None:
    clocks.look(after=0)
    assert clocks.look(after=APART_SECONDS, **{which: jump}) is None
    assert clocks.look(after=APART_SECONDS - 1) is None
    expected = 6_000_000 + APART_SECONDS + (jump if which == "rows_jump" else 0)
    assert clocks.look(after=1) == expected


def test_a_clock_that_is_slewed_is_not_one_that_jumps(clocks: Clocks) -> None:
    clocks.look(after=0)
    assert clocks.look(after=APART_SECONDS, wall_jump=JUMP_SECONDS - 0.5, rows_jump=0.5 - JUMP_SECONDS) == 6_000_000
