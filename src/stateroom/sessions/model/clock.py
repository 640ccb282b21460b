"""The clock that sessions go by, as a protocol."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Redis' time: `store/redis_clock.py` keeps it, and the state machine's tests have one of their own."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    @property
    def set_back_ms(self) -> int:
        """To what time it was set back last; 0 if it never was."""
