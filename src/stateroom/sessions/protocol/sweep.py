"""Clearing expired sessions out of the indexes.

Redis deletes an expired session by itself, but its entries in the indexes stay. From them a worker learns that it expired.
Each expiry is counted once in the deployment, with the session's lifetime.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..store.key_names import TAG_COUNT

if TYPE_CHECKING:
    from ..store.session_store import SessionStore
    from .ends import Ends

TAGS_SWEPT_AT_ONCE = 8
"""Sweeps and checks share a connection, and a check waits until the commands before it are done."""


class Sweeper:
    """One worker's sweeper. `_next_tag`: where the next sweep begins; `0 <= _next_tag < TAG_COUNT`."""

    def __init__(self, *, store: SessionStore, ends: Ends) -> None:
        self._store = store
        self._ends = ends
        self._next_tag = 0

    async def sweep(self, *, share: int = 1) -> int:
        """Sweep the next `share`-th of the tags. Returns how many sessions had expired. Raises `StoreUnavailable`."""
        tags = -(-TAG_COUNT // share)
        begin, self._next_tag = self._next_tag, (self._next_tag + tags) % TAG_COUNT
        count, fault = 0, None
        for first in range(begin, begin + tags, TAGS_SWEPT_AT_ONCE):
            some = range(first, min(first + TAGS_SWEPT_AT_ONCE, begin + tags))
            for each in await asyncio.gather(*(self._store.sweep(tag) for tag in some), return_exceptions=True):
                if isinstance(each, BaseException):  # still count what the other tags have swept: their entries are deleted
                    fault = each
                    continue
                count += len(each)
                for end in each:
                    self._ends.count("expired", end)
        if fault is not None:
            raise fault
        return count
