"""When to stop asking Redis, and when to ask again.

The breaker opens when a connection breaks off, times out or cannot be made; while it is open callers are answered
at once. One probe at a time, paced, tries to connect again, and closes it. What is load or a caller's own doing
(an exhausted pool, a cancelled request, a script's error) never opens it.
Times are of the monotonic clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum

from ..errors import StoreUnavailable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5


class BreakerState(Enum):
    """The values of the gauge `stateroom_redis_circuit_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """One per primary. `observe` hears each change of state with its reason."""

    def __init__(
        self,
        observe: Callable[[BreakerState, str], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = BreakerState.CLOSED
        self.reason = ""
        self._observe = observe
        self._clock = clock
        self._pause = FIRST_PAUSE_SECONDS
        self._probe_at = 0.0

    @property
    def is_closed(self) -> bool:
        return self.state is BreakerState.CLOSED

    def check(self) -> None:
        """Raise `StoreUnavailable` while open."""
        if self.state is not BreakerState.CLOSED:
            raise StoreUnavailable(
                f"Redis is away: {self.reason}", kind="breaker_open", retry_after=max(1, math.ceil(self.seconds_to_probe()))
            )

    def trip(self, reason: str) -> None:
        """A fault was seen: open, or stay open and wait longer until the next probe."""
        self._probe_at = self._clock() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        self._move(BreakerState.OPEN, reason)

    def begin_probe(self) -> None:
        """The one probe is under way."""
        if self.state is BreakerState.OPEN:
            self._move(BreakerState.HALF_OPEN, self.reason)

    def reset(self) -> None:
        """Redis answered: close."""
        self._pause = FIRST_PAUSE_SECONDS
        self._move(BreakerState.CLOSED, "")

    def probe_soon(self) -> None:
        """Somebody (a Sentinel) says that there is a server again: don't wait for the pause to end."""
        self._pause = FIRST_PAUSE_SECONDS
        self._probe_at = self._clock()

    def seconds_to_probe(self) -> float:
        return max(0.0, self._probe_at - self._clock())

    def _move(self, state: BreakerState, reason: str) -> None:
        changed = state is not self.state
        self.state, self.reason = state, reason
        if changed and self._observe is not None:
            self._observe(state, reason)
