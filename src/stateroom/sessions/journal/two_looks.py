"""When a row is due for certain, though clocks jump.

A row of the journal names the time until which it is needed. A clock that jumps ahead would make it due at once, and a
session that it ended could be trusted again when the clock is set right. So a row counts as due only if it was due at two
looks far apart, with no jump of a clock between them. The distance is of the monotonic clock, which cannot be set.
"""

from __future__ import annotations

import time
from typing import NamedTuple

BEYOND_DEGRADED_SECONDS = 300.0
"""How much farther apart than `DEGRADED_MAX_AGE` the looks are."""
JUMP_SECONDS = 2.0
"""A clock that is adjusted slowly, or a slow reply, makes a smaller difference."""


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
        """Rows that were due at the returned time are due for certain. None if nothing is certain yet.

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
