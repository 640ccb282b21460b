"""The clock that sessions use, as a protocol."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Redis' time. `store/redis_clock.py` implements it, and the state machine of the tests has its own clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    @property
    def set_back_ms(self) -> int:
        """The time to which it was last set back; 0 if it never was."""
