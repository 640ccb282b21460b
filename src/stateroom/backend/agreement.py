"""What the workers of a deployment have agreed on about their primary, as the user database keeps it.

The config epochs of Sentinels only grow, unless the Sentinels are rebuilt from nothing. Then they begin at 0 again, and may
name another server. One worker may still reach the old Sentinels while another one reaches the new ones, and each sees a
majority. So a worker does not trust a primary by the Sentinels' word alone. The user database has one row with the base, the
config epoch and the primary. A worker trusts the primary in this row only, and only if its own Sentinels name it too.

The row changes in one direction: to a higher epoch, which a worker commits, or to the next base, which an administrator
commits (`stateroom sentinels accept`). A worker stops trusting the old primary when it reads the changed row. It trusts the new
primary after a read that began one lease after it first saw the change. Every other worker uses only reads that are younger
than a lease. So by then every other worker has seen the change too, and two workers never trust two primaries.

This file knows no database. `sessions/protocol/sentinel_row.py` reads and writes the row.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable


class Agreed(NamedTuple):
    """The row. `base`: how often an administrator accepted rebuilt Sentinels. `epoch`: the highest config epoch in this base; -1
    before the first. `primary`: the server that has it, as `host:port`; None before the first.
    """

    base: int
    epoch: int
    primary: str | None


class Agreement:
    """One worker's knowledge of the row.

    `known`: the newest row that was read or committed; None before the first. By base and epoch it never decreases.
    `overruled`: epoch and primary of the base before, if this worker has seen the change of base. Sentinels that were not
    rebuilt may still name them.
    `wanted`: the row that this worker would commit now; None if there is none. `is_wanted` is set exactly while there is one.
    `has_database`: without a user database there is no row, and the Sentinels' word decides.
    `is_away`: whether the user database is unavailable. `identity`: the deployment's id, and the key that holds it in Redis.
    """

    def __init__(self, *, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self.known: Agreed | None = None
        self.overruled: tuple[int, str | None] | None = None
        self.wanted: Agreed | None = None
        self.is_wanted = asyncio.Event()
        self.has_database = False
        self.is_away: Callable[[], bool] = lambda: False
        self.identity: Callable[[], tuple[str, str | None]] = lambda: ("", None)
        self.on_change: Callable[[], None] = lambda: None
        # When `known` had certainly been committed.
        self._seen_at = 0.0
        # Whether a read has shown `known` that began a lease after that.
        self._is_applied = False
        # The base of the last row that was applied; -1 before the first.
        self._applied_base = -1

    def read(self, row: Agreed, began_at: float) -> None:
        """A read of the row that began at this moment has just ended."""
        known = self.known
        if known is None or row[:2] > known[:2] or (row[:2] == known[:2] and row != known):
            if known is not None and row.base > known.base:
                self.overruled = known[1:] if known[1:] != row[1:] else None
            self.known, self._seen_at, self._is_applied = row, time.monotonic(), False
        elif row != known or self._is_applied or began_at < self._seen_at + self._lease_seconds:
            return
        else:
            self._is_applied, self._applied_base = True, row.base
        self.on_change()

    def committed(self, row: Agreed) -> None:
        """This worker has just committed the row, or found it committed."""
        self.read(row, 0.0)

    def forget_overruled(self) -> None:
        """Every Sentinel was rebuilt. If they name the overruled pair later, a failover of their own has the same number."""
        self.overruled = None

    def doubt(self) -> None:
        """The database went back to an older state. What is known counts again after two reads that lie a lease apart."""
        self._seen_at, self._is_applied, self._applied_base = time.monotonic(), False, -1
        self.on_change()

    def want(self, epoch: int, primary: str) -> None:
        """A majority names this primary. Commit that, if it is new."""
        known = self.known
        if known is None or not self.has_database or epoch <= known.epoch:
            self.want_nothing()
            return
        self.wanted = Agreed(known.base, epoch, primary)
        self.is_wanted.set()

    def want_nothing(self) -> None:
        """No majority names anything that is new."""
        self.wanted = None
        self.is_wanted.clear()

    def contradicts(self, epoch: int, primary: str) -> bool:
        """Whether this is a lower epoch than the known one, the known one with another primary, or overruled."""
        known = self.known
        if known is None:
            return False
        is_another = epoch == known.epoch and known.primary not in {None, primary}
        return epoch < known.epoch or is_another or (epoch, primary) == self.overruled

    def allows(self, epoch: int, primary: str, *, highest: int) -> bool:
        """Whether the worker may trust this primary, if a majority names it with this epoch.

        `highest`: the highest epoch in any Sentinel's reply. While the user database is unavailable, a new primary cannot be
        committed. Then a higher epoch of the applied base is enough.
        """
        if not self.has_database:
            return epoch >= highest
        if self.known is None:
            return False
        if self._is_applied and (epoch, primary) == self.known[1:]:
            return True
        may_go_alone = self.is_away() and self._applied_base == self.known.base
        return may_go_alone and epoch >= highest and not self.contradicts(epoch, primary)


@runtime_checkable
class FollowsSentinels(Protocol):
    """A client whose primary is found through Sentinels."""

    agreement: Agreement
