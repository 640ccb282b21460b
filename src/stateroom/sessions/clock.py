"""What time it is for sessions: Redis' own, as far as this worker knows it.

Scripts ask Redis for the time. What a worker decides itself (is a renewal due, how old is a cookie) it decides by
the monotonic clock plus the difference to Redis that it measured last: a wall clock that is set while Redis is away
must not make what is old young again. Before the first comparison the wall clock of the start counts. Times are
milliseconds since the epoch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend.client import RedisClient


class StoreClock:
    """Redis' time. `skew_ms` is zero outside tests: `stateroom.testing` moves time by it, for scripts too."""

    def __init__(self) -> None:
        self.offset_ms = round((time.time() - time.monotonic()) * 1000)
        self.skew_ms = 0
        self.is_calibrated = False

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000) + self.offset_ms + self.skew_ms

    async def calibrate(self, client: RedisClient, key: str) -> None:
        """Compare with Redis TIME. Raises `StoreUnavailable`."""
        before = time.monotonic()
        seconds, micros = await client.execute(key, "TIME")
        middle = (before + time.monotonic()) / 2
        self.offset_ms = round((int(seconds) + int(micros) / 1e6 - middle) * 1000)
        self.is_calibrated = True

    def latest_ms(self, timeout: float) -> int:
        """Until when a script may write whose caller waits `timeout` seconds, once the clock is calibrated."""
        return self.now_ms() + int(timeout * 1000)
