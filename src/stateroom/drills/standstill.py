"""Notices when a process stands still: its machine gives it no processor, or a call blocks its event loop.

A drill's clients and relays run in the drill's own process. If that process stands still, a response waits there although
the service sent it in time. The workers report their own standstills when the drill asks. Times are of the monotonic
clock, in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

TICK_SECONDS = 0.01
LEAST_SECONDS = 0.05
"""A shorter delay is normal for a busy event loop."""
SCHEDULER = Path("/proc/thread-self/schedstat")
"""What Linux knows of a thread: ns on a processor, ns of waiting for one, and how often it got one
(https://docs.kernel.org/scheduler/sched-stats.html)."""


class Standstills:
    """The standstills of this process, while inside `watching()`.

    `spans`: (begin, end), in order of time, each at least `LEAST_SECONDS` long.
    `longest_blocked`: seconds for which a call blocked the event loop, without the time that the thread waited for a
    processor; 0 if no call took `LEAST_SECONDS`.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self.longest_blocked = 0.0
        # When the watching task should run next; infinite while nothing watches.
        self._due = float("inf")

    @property
    def longest(self) -> float:
        """Seconds of the longest standstill; 0 if there was none."""
        return max((end - begin for begin, end in self.spans), default=0.0)

    def within(self, begin: float, end: float) -> float:
        """Seconds between these moments in which the process stood still. `end` must not be later than now.

        After a standstill the caller may run before the watching task. So a standstill that the task has not yet recorded
        counts too.
        """
        spans = [*self.spans, (self._due, end)] if end - self._due >= LEAST_SECONDS else self.spans
        return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch inside this context."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._due = float("inf")

    async def _watch(self) -> None:
        while True:
            waited = _waited_for_a_processor()
            self._due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if now - self._due >= LEAST_SECONDS:
                self.spans.append((self._due, now))
                blocked = now - self._due - (_waited_for_a_processor() - waited)
                if blocked >= LEAST_SECONDS:
                    self.longest_blocked = max(self.longest_blocked, blocked)


def _waited_for_a_processor() -> float:
    """Seconds for which this thread could have run and waited for a processor; 0 where the system does not tell."""
    try:
        return int(SCHEDULER.read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0
