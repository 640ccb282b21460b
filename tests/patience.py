"""Bounds on time, and waiting for conditions that usually are true at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from aiohttp import web

from stateroom import SESSIONS
from stateroom.drills.node import until

PATIENCE_SECONDS = 60.0

LOOK_SECONDS = 0.02
STANDSTILL_SECONDS = 0.25
"""If a thread sleeps for `LOOK_SECONDS` and wakes so much later, then the whole process stood still."""


class Standstills(threading.Thread):
    """Adds up how long no thread of this process ran, because the machine was paused.

    A call that blocks the event loop does not count, nor does time in which the process computed.
    `_woke`: the time when this thread woke last, and the processor time of the process then. `_seconds`: the standstills so far.
    """

    def __init__(self) -> None:
        super().__init__(name="standstills", daemon=True)
        self._woke = time.monotonic(), time.process_time()
        self._seconds = 0.0
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self._look()

    def end(self) -> float:
        """Stop. Returns the seconds, with a standstill that has just ended."""
        self._is_over.set()
        self.join()
        self._look()
        return self._seconds

    def _look(self) -> None:
        before, self._woke = self._woke, (time.monotonic(), time.process_time())
        stood_still = self._woke[0] - before[0] - (self._woke[1] - before[1]) - LOOK_SECONDS
        if stood_still > STANDSTILL_SECONDS:
            self._seconds += stood_still


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The code inside must not take longer. While the whole process stands still, no time passes."""
    standstills = Standstills()
    standstills.start()
    began = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - began
        stood_still = standstills.end()
    assert took - stood_still < seconds, f"took {took:.3f} s, and stood still for {stood_still:.3f} s of that"


async def settled(app: web.Application) -> None:
    """Wait until this worker has replayed the journal into its store, which it does after startup and each reconnection."""

    async def is_so() -> bool:
        return app[SESSIONS].store_state() == "settled"

    await until(is_so, "the store is settled")


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Ask again and again until the condition is true. For tests of other processes, which send no event."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {what}"
        time.sleep(0.02)
