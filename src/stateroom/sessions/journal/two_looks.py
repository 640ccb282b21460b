"""When a row is due for certain, though clocks jump.

A row of the journal names the time until which it is needed. A clock that jumps ahead would make it due at once, and a
session that it ended could come back when the clock is set right. So a row counts as due only if it was due at two looks
that lie far apart by the monotonic clock, which nobody sets, with no jump of another clock between them.
"""

from __future__ import annotations

import time
from typing import NamedTuple

BEYOND_DEGRADED_SECONDS = 300.0
"""How much farther apart than `DEGRADED_MAX_AGE` the looks are."""
JUMP_SECONDS = 2.0
"""Clocks that are slewed, and a slow answer, differ by less."""


class _Look(NamedTuple):
    monotonic: float
    wall: float
    now_ms: int


class TwoLooks:
    """`apart_seconds`: how far apart the looks are."""

    def __init__(self, apart_seconds: float) -> None:
        self._apart_seconds = apart_seconds
        self._first: _Look | None = None

    def look(self, now_ms: int) -> int | None:
        """The time by which a row must have been due to be due for certain; None if nothing is certain yet.

        `now_ms`: the time by the clock that rows expire by, milliseconds since the epoch.
        """
        now = _Look(time.monotonic(), time.time(), now_ms)
        first = self._first
        if first is None:
            self._first = now
            return None
        passed = now.monotonic - first.monotonic
        jumps = (now.wall - first.wall - passed, (now.now_ms - first.now_ms) / 1000 - passed)
        if max(map(abs, jumps)) > JUMP_SECONDS:
            self._first = now
            return None
        if passed < self._apart_seconds:
            return None
        self._first = now
        return first.now_ms
