"""Redis' time, as far as this worker knows it. Sessions use this clock.

Scripts ask Redis for the time. For its own decisions (is a renewal due, how old is a sealed value) a worker uses the
monotonic clock plus the difference to Redis that it measured last. If the wall clock is set while Redis is unavailable, old
values do not become young again. Before the first comparison the wall clock at startup counts. Times are milliseconds since
the epoch.

Redis' own time may go back: its host's clock is set, or a failover leads to a host whose clock is behind. The worker
takes the new time over. Then every value that was sealed before looks younger than it is. So the clock remembers to what time
it was set back: a value that was sealed earlier restores no session and is not trusted alone. The journal notes it too, for
workers that start later (upkeep.py).

A comparison is uncertain by half its round trip, because Redis may have read its clock at any moment of it. The uncertainty
grows while the comparison gets old, because two clocks differ in speed. A comparison that is less certain than the known one is
used only if both cannot be right. So one reply that comes late does not spoil the clock, and a clock that was set is noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...logs import get_logger
from ..model.lifetimes import FUTURE_MS

if TYPE_CHECKING:
    from ...backend.client import RedisClient

log = get_logger(__name__)

_FIX = (
    "correct the clock of the Redis host; if it went back by more than the longest lifetime of a session, "
    "run `stateroom sessions revoke --all`"
)

DRIFT = 0.001
"""By how many seconds per second the clocks of two hosts may drift apart. NTP corrects each one by at most half of that."""


class RedisClock:
    """Implements `Clock`.

    `offset_ms`: Redis' time less the monotonic clock. `is_calibrated`: whether it was measured yet.
    `set_back_ms`: Redis' time when it was last found to have gone back by more than clocks usually differ; 0 if it never did.
    `set_back_from_ms`: the time that it showed then. Sealed values may have times up to this one.
    `skew_ms`: zero outside tests; `stateroom.testing` moves time by it, for scripts too.
    """

    def __init__(self) -> None:
        self._on_step_back: list[Callable[[], None]] = []
        self.set_back_ms = self.set_back_from_ms = 0
        self.offset_ms = round((time.time() - time.monotonic()) * 1000)
        self.skew_ms = 0
        self.is_calibrated = False
        # Half the round trip of the comparison that is used, and when that was, on the monotonic clock.
        self._half_trip_ms = self._compared_at = 0.0

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(time.monotonic() * 1000) + self.offset_ms + self.skew_ms

    def on_step_back(self, forget: Callable[[], None]) -> None:
        """Call this whenever the time has gone back, because times that were noted before are of another clock."""
        self._on_step_back.append(forget)

    async def calibrate(self, client: RedisClient, key: str) -> None:
        """Compare with Redis TIME. Raises `StoreUnavailable`."""
        before = time.monotonic()
        seconds, micros = await client.execute(key, "TIME")
        after = time.monotonic()
        half_trip_ms = (after - before) / 2 * 1000
        offset_ms = round((int(seconds) + int(micros) / 1e6 - (before + after) / 2) * 1000)
        known_ms = self.uncertainty_ms()
        if self.is_calibrated and half_trip_ms > known_ms and abs(offset_ms - self.offset_ms) <= half_trip_ms + known_ms:
            return
        self._half_trip_ms, self._compared_at = half_trip_ms, after
        back_ms, self.offset_ms = self.offset_ms - offset_ms, offset_ms
        was_calibrated, self.is_calibrated = self.is_calibrated, True
        if back_ms > FUTURE_MS:
            for forget in self._on_step_back:
                forget()
            if was_calibrated:  # otherwise this host's clock was wrong, and Redis' was not set
                self.set_back_ms = self.now_ms()
                self.set_back_from_ms = self.set_back_ms + back_ms
                log.error("redis_time_went_back", seconds=back_ms / 1000, fix=_FIX)

    def uncertainty_ms(self) -> int:
        """By how many milliseconds `now_ms` may differ from Redis' time. The clock must be calibrated."""
        return math.ceil(self._half_trip_ms + (time.monotonic() - self._compared_at) * 1000 * DRIFT)

    def latest_ms(self, timeout: float) -> int:
        """Until when a script may write if its caller waits `timeout` seconds. The clock must be calibrated.

        By Redis' own clock this is never later than the end of the wait. A script that runs in the last half of a round trip
        is too late anyway, because its reply must come back too.
        """
        return self.now_ms() + int(timeout * 1000) - self.uncertainty_ms()
