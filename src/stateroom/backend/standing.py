"""How far one primary may be believed right now.

A connection that works proves little: an old primary that was cut off answers whoever is on its side. What makes it
believable depends on how it was found; what reads this only compares two numbers.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import time


class Standing:
    """Of one primary. `serial` grows with each connection to it, so that what was learnt over one is not believed of
    the next; until `believed_until` nobody else can be the primary, as far as can be known (0 while unconnected).
    """

    __slots__ = ("believed_until", "serial")

    def __init__(self) -> None:
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


UNKNOWN = Standing()
"""Of a primary that nobody knows. It is never connected."""
