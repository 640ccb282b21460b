"""Decides when to stop asking Redis, and when to ask again.

The breaker opens when a connection breaks, times out or cannot be made. While it is open, every call fails at once. One
probe at a time tries to connect again, with pauses between probes. A successful probe closes the breaker. Load and a
caller's own errors never open it: an exhausted pool, a cancelled request, an error of a script.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum

from ..errors import StoreUnavailable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
assert 0 < FIRST_PAUSE_SECONDS <= LONGEST_PAUSE_SECONDS, "the pause could not double from the first to the longest"


class BreakerState(Enum):
    """The values of the gauge `stateroom_redis_circuit_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """The breaker of one primary. `observe` is called at each change of state, with its reason.

    States: closed -> open (`trip`) -> half open (`begin_probe`) -> closed (`reset`) or open (`trip`).
    """

    def __init__(
        self,
        observe: Callable[[BreakerState, str], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = BreakerState.CLOSED
        # Why it opened; empty exactly while it is closed.
        self.reason = ""
        # The error of the attempt to connect that opened it. None while it is closed, and if a connection was lost or timed out.
        self.cause: BaseException | None = None
        self._observe = observe
        self._clock = clock
        # The pause before the next probe: FIRST_PAUSE_SECONDS <= _pause <= LONGEST_PAUSE_SECONDS.
        # It doubles with each fault. `reset` and `probe_soon` set it back.
        self._pause = FIRST_PAUSE_SECONDS
        # When the next probe may begin: _probe_at <= now + LONGEST_PAUSE_SECONDS.
        self._probe_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether calls may go to Redis."""
        return self.state is BreakerState.CLOSED

    def check(self) -> None:
        """Raise `StoreUnavailable` (kind `breaker_open`) unless closed."""
        if self.state is not BreakerState.CLOSED:
            raise StoreUnavailable(
                f"Redis is unavailable: {self.reason}", kind="breaker_open", retry_after=max(1, math.ceil(self.seconds_to_probe()))
            )

    def trip(self, reason: str, cause: BaseException | None = None) -> None:
        """Open after a fault. If it was open already, wait longer before the next probe. `cause`: why there is no connection."""
        self._probe_at = self._clock() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        self.cause = cause
        self._move(BreakerState.OPEN, reason)

    def begin_probe(self) -> None:
        """The probe begins. Until it ends, all calls still fail at once."""
        if self.state is BreakerState.OPEN:
            self._move(BreakerState.HALF_OPEN, self.reason)

    def reset(self) -> None:
        """Close, because Redis has answered."""
        self._pause = FIRST_PAUSE_SECONDS
        self.cause = None
        self._move(BreakerState.CLOSED, "")

    def probe_soon(self) -> None:
        """End the pause now, because a Sentinel has named a primary."""
        self._pause = FIRST_PAUSE_SECONDS
        self._probe_at = self._clock()

    def seconds_to_probe(self) -> float:
        """How long until the next probe may begin; 0 if it may begin now."""
        return max(0.0, self._probe_at - self._clock())

    def _move(self, state: BreakerState, reason: str) -> None:
        changed = state is not self.state
        self.state, self.reason = state, reason
        if changed and self._observe is not None:
            self._observe(state, reason)
