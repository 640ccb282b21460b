"""How long a session lives at most after its sign-in, by the present settings.

The limits also apply to values that were stored or sealed earlier. With a leaked key anybody can seal a lifetime of ten years,
and shorter settings must apply to sessions that exist already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ...settings import Settings


FUTURE_MS = 5000
"""How far another worker's clock may be ahead when it seals a value. Both workers measure Redis' clock."""


class Lifetimes(NamedTuple):
    """Milliseconds. A persistent session ("remember me") has one lifetime, idle and absolute."""

    idle_ms: int
    absolute_ms: int
    persistent_ms: int

    @classmethod
    def of(cls, settings: Settings) -> Lifetimes:
        """The lifetimes in the settings."""
        return cls(
            1000 * settings.session_max_age, 1000 * settings.session_absolute_max_age, 1000 * settings.session_remember_max_age
        )

    def bound(self, *, idle_ms: int, created_ms: int, deadline: int, is_persistent: bool) -> tuple[int, int]:
        """The idle lifetime and the deadline, neither longer than allowed. `created_ms`: 0 if it is unknown."""
        idle, absolute = (self.persistent_ms, self.persistent_ms) if is_persistent else (self.idle_ms, self.absolute_ms)
        return min(idle_ms, idle), min(deadline, created_ms + absolute) if created_ms else deadline
