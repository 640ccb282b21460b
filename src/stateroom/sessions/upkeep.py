"""What the sessions of one process need now and then: a sweep, a comparison of clocks, a shorter journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .store.key_names import TAG_COUNT

if TYPE_CHECKING:
    from .wiring import Parts

PRUNED_AT_ONCE = 5000
TAGS_SWEPT_AT_ONCE = 8
"""Sweeps share a connection with the checks, which wait behind them."""


class Upkeep:
    """The steps of one process. Each raises `StoreUnavailable` or `DatabaseUnavailable`, and can be tried again.

    `_next_tag`: where the next sweep begins; `0 <= _next_tag < TAG_COUNT`.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._next_tag = 0

    @property
    def sweeps(self) -> bool:
        """Whether this process is the one of the fleet that sweeps and replays the journal each second."""
        return self._parts.replay.sweeps

    async def calibrate(self) -> None:
        """Compare this host's clock with Redis'."""
        await self._parts.clock.calibrate(self._parts.client, self._parts.key_names.sweeper)

    async def flush_ends(self) -> None:
        """Write down the ends that were acknowledged while the journal was unavailable."""
        await self._parts.ends.flush()

    async def prune_journal(self) -> int:
        """Drop journal rows that no session needs any more, a bounded number of them. Returns how many."""
        return await self._parts.journal.prune(self._parts.clock.now_ms(), PRUNED_AT_ONCE)

    async def claim_sweep(self, worker: str, *, hold_ms: int) -> bool:
        """Become the process that sweeps, unless another one is; whether this one is it now."""
        replay = self._parts.replay
        replay.sweeps = False
        replay.sweeps = await self._parts.store.claim_sweep(worker, hold_ms=hold_ms)
        return replay.sweeps

    async def sweep(self, *, share: int = 1) -> int:
        """Clear expired sessions out of the indexes and count them; one call does a `share`-th of the tags. Returns how many."""
        tags = -(-TAG_COUNT // share)
        begin, self._next_tag = self._next_tag, (self._next_tag + tags) % TAG_COUNT
        count, fault = 0, None
        for first in range(begin, begin + tags, TAGS_SWEPT_AT_ONCE):
            some = range(first, min(first + TAGS_SWEPT_AT_ONCE, begin + tags))
            for each in await asyncio.gather(*(self._parts.store.sweep(tag) for tag in some), return_exceptions=True):
                if isinstance(each, BaseException):  # count what the others have swept: nobody sees it again
                    fault = each
                    continue
                count += len(each)
                for end in each:
                    self._parts.ends.count("expired", end)
        if fault is not None:
            raise fault
        return count
