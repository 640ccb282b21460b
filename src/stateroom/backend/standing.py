"""How far one primary may be believed right now.

A connection that works proves little: an old primary that was cut off answers whoever is on its side. What makes it
believable depends on how it was found; what reads this only compares two numbers.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .near_cache import NearCache


class Standing:
    """Of one primary. `serial` grows with each connection to it, so that what was learnt over one is not believed of
    the next; until `believed_until` nobody else can be the primary, as far as can be known (0 while unconnected).
    `near`: copies of what it said over its connection, where such are kept.
    """

    __slots__ = ("believed_until", "near", "serial")

    def __init__(self, near: NearCache | None = None) -> None:
        self.near = near
        self.serial = 0
        self.believed_until = 0.0

    @property
    def is_believed(self) -> bool:
        return time.monotonic() < self.believed_until

    def connected(self, until: float = math.inf) -> None:
        self.serial += 1
        self.believed_until = until

    def lost(self) -> None:
        self.believed_until = 0.0
        if self.near is not None:
            self.near.lost()


UNKNOWN = Standing()
"""Of a primary that nobody knows. It is never connected."""
