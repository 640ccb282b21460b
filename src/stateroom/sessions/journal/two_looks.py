"""When a row is due for certain, though clocks jump or are wrong.

A row of the journal names the time until which it is needed. A clock that jumps ahead would make it due at once, and a
session that it ended could be trusted again when the clock is set right. So a row counts as due only if it was due at two
looks far apart, with no jump of a clock between them. The distance is of the monotonic clock, which cannot be set.

Three clocks are compared at each look: the database's, Redis' and this host's. While they disagree, one of them is wrong,
and nothing is due.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ...logs import get_logger

log = get_logger(__name__)

BEYOND_DEGRADED_SECONDS = 300.0
"""How much farther apart than `DEGRADED_MAX_AGE` the looks are."""
JUMP_SECONDS = 2.0
"""A clock that is adjusted slowly, or a slow reply, makes a smaller difference."""
AGREE_SECONDS = 30.0
"""Clocks that differ by more disagree. Rows are kept for hours at least, so less does no harm."""
assert JUMP_SECONDS < AGREE_SECONDS

_FIX = "run an NTP client on every host; until the clocks agree, the journal is not pruned"


class _Look(NamedTuple):
    """Seconds, by each clock."""

    monotonic: float
    here: float
    database: float
    redis: float

    @property
    def spread(self) -> float:
        return max(self[1:]) - min(self[1:])

    def jump_since(self, first: _Look) -> float:
        passed = self.monotonic - first.monotonic
        return max(abs(now - then - passed) for now, then in zip(self[1:], first[1:], strict=True))


class TwoLooks:
    """`apart_seconds`: how far apart the looks are. `_do_differ`: the clocks disagreed at the last look, and a log line said so."""

    def __init__(self, apart_seconds: float) -> None:
        self._apart_seconds = apart_seconds
        self._first: _Look | None = None
        self._do_differ = False

    def look(self, *, database_ms: int, redis_ms: int) -> int | None:
        """Rows that were due at the returned time, by the database's clock, are due for certain. None if nothing is certain yet.

        The times are by the database's clock and by Redis', in milliseconds since the epoch.
        """
        now = _Look(time.monotonic(), time.time(), database_ms / 1000, redis_ms / 1000)
        if not self._agree(now):
            self._first = None
            return None
        first = self._first
        if first is None or now.jump_since(first) > JUMP_SECONDS:
            self._first = now
            return None
        if now.monotonic - first.monotonic < self._apart_seconds:
            return None
        self._first = now
        return round(1000 * first.database)

    def _agree(self, now: _Look) -> bool:
        did_differ, self._do_differ = self._do_differ, now.spread > AGREE_SECONDS
        if self._do_differ and not did_differ:
            log.warning(
                "clocks_differ",
                database_ahead_seconds=round(now.database - now.here, 1),
                redis_ahead_seconds=round(now.redis - now.here, 1),
                fix=_FIX,
            )
        return not self._do_differ
