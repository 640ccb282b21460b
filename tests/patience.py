"""Bounds on time, and waiting for conditions that usually are true at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from aiohttp import web

from stateroom import SESSIONS
from stateroom.drills.node import until

PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The code inside must not take longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.3f} s"


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
