"""Which numbers of the journal's rows a worker has read.

Rows commit out of the order of their numbers: a skipped number may still come. So each read asks for the gaps too, until they
are older than any transaction can be.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model.rows import Row

GAP_SECONDS = 10.0
"""Longer than any transaction takes."""
GAPS_LOOKED_FOR = 1000


class ReadNumbers:
    """`highest`: the highest number read. `gaps`: skipped numbers below it, and when each was first missed.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self.highest = 0
        self.gaps: dict[int, float] = {}

    @property
    def contiguous(self) -> int:
        """Every row numbered up to this has been read, or never existed."""
        return min(self.gaps) - 1 if self.gaps else self.highest

    def begin_at(self, seq: int) -> None:
        """Read from this number on. Some numbers before it may still come."""
        self.highest = max(0, seq - 1 - GAPS_LOOKED_FOR)

    def new_among(self, rows: Sequence[Row]) -> list[Row]:
        """Note the numbers of these rows. Returns the rows that were not read before."""
        now = time.monotonic()
        for gap in [gap for gap, seen_at in self.gaps.items() if now - seen_at > GAP_SECONDS]:
            del self.gaps[gap]
        new = []
        for row in rows:
            if row.seq > self.highest:
                for gap in range(max(self.highest + 1, row.seq - GAPS_LOOKED_FOR), row.seq):
                    self.gaps[gap] = now
                self.highest = row.seq
            elif self.gaps.pop(row.seq, None) is None:
                continue  # known
            new.append(row)
        while len(self.gaps) > GAPS_LOOKED_FOR:
            del self.gaps[next(iter(self.gaps))]
        return new

    def clear(self) -> None:
        """Start over, because the database went back: other rows may get these numbers."""
        self.highest = 0
        self.gaps.clear()
