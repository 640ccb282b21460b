"""When a process stands still: a virtual machine that gets no processor, a call that holds the event loop up.

A drill's clients and relays live in its own process, so that an answer waits there though nobody who is drilled has kept
it waiting. Its workers tell theirs when they are asked. Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

TICK_SECONDS = 0.01
LEAST_SECONDS = 0.05
"""A shorter one is a busy loop."""


class Standstills:
    """Noticed while it is watching."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._due = float("inf")

    @property
    def longest(self) -> float:
        return max((end - begin for begin, end in self.spans), default=0.0)

    def within(self, begin: float, end: float) -> float:
        """Seconds between these moments. Whoever asks may have woken before we have: `end` is now, at the latest."""
        spans = [*self.spans, (self._due, end)] if end - self._due >= LEAST_SECONDS else self.spans
        return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._due = float("inf")

    async def _watch(self) -> None:
        while True:
            self._due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if now - self._due >= LEAST_SECONDS:
                self.spans.append((self._due, now))
