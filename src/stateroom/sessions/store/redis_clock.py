"""Redis' time, as far as this worker knows it: the clock that sessions go by.

Scripts ask Redis for the time. What a worker decides itself (is a renewal due, how old is a sealed value) it decides by
the monotonic clock plus the difference to Redis that it measured last. A wall clock that is set while Redis is
unavailable must not make old things young again. Before the first comparison the wall clock at startup counts. Times
are milliseconds since the epoch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...backend.client import RedisClient


class RedisClock:
    """Implements `Clock`.

    `offset_ms`: Redis' time less the monotonic clock. `is_calibrated`: whether it was measured yet.
    `skew_ms`: zero outside tests; `stateroom.testing` moves time by it, for scripts too.
    """

    def __init__(self) -> None:
        self.offset_ms = round((time.time() - time.monotonic()) * 1000)
        self.skew_ms = 0
        self.is_calibrated = False

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(time.monotonic() * 1000) + self.offset_ms + self.skew_ms

    async def calibrate(self, client: RedisClient, key: str) -> None:
        """Compare with Redis TIME. Raises `StoreUnavailable`."""
        before = time.monotonic()
        seconds, micros = await client.execute(key, "TIME")
        middle = (before + time.monotonic()) / 2
        self.offset_ms = round((int(seconds) + int(micros) / 1e6 - middle) * 1000)
        self.is_calibrated = True

    def latest_ms(self, timeout: float) -> int:
        """Until when a script may write if its caller waits `timeout` seconds. The clock must be calibrated."""
        return self.now_ms() + int(timeout * 1000)
