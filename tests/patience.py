"""How long something may take, and waiting for what usually is so at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from aiohttp import web

from stateroom import SESSIONS
from stateroom.drills import topology


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is inside takes no longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.3f} s"


async def settled(app: web.Application) -> None:
    """Until this worker has applied the journal to its store: a moment after it has started, and after each reconnection."""

    async def is_so() -> bool:
        return app[SESSIONS].store_state() == "settled"

    await topology.until(is_so, "the store is settled")
