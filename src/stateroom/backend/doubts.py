"""Decides which doubts about the shared connections close them all. A doubt: two connections lead to different servers.

The connections in use lead to one server, with or without a doubt: a connection to another one is not used. But the one
server may be the wrong one. A proxy in front of several servers would raise doubts all the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

FIRST_DOUBT_PAUSE_SECONDS = 0.2
LONGEST_DOUBT_PAUSE_SECONDS = 10.0
"""The pauses after a doubt that closed all connections. In a pause, further doubts close only the new connection."""
assert 0 < FIRST_DOUBT_PAUSE_SECONDS <= LONGEST_DOUBT_PAUSE_SECONDS, "the pause could not double from the first to the longest"


class Doubts:
    """The first doubt counts, and after each that counts there is a pause. The pause doubles while doubts come.

    After a long time without a doubt the pause is short again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The pause after the next doubt that counts: from FIRST_DOUBT_PAUSE_SECONDS to LONGEST_DOUBT_PAUSE_SECONDS.
        self._pause = FIRST_DOUBT_PAUSE_SECONDS
        # When the next doubt may count, and when the last one came, by the clock.
        self._next_at = self._last_at = -math.inf

    def may_act(self) -> bool:
        """Whether this doubt counts."""
        now = self._clock()
        if now - self._last_at > 2 * LONGEST_DOUBT_PAUSE_SECONDS:
            self._pause = FIRST_DOUBT_PAUSE_SECONDS
        self._last_at = now
        if now < self._next_at:
            return False
        self._next_at = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_DOUBT_PAUSE_SECONDS)
        return True
