"""What holds on a busy machine too: bounds on time, and waiting for what usually is so at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from aiohttp import web

from stateroom import SESSIONS
from stateroom.drills import topology
from stateroom.drills.standstill import Standstills


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """What is inside takes no longer. That this process stood still meanwhile, without a processor, is not its fault."""
    standstills = Standstills()
    async with standstills.watching():
        began = time.monotonic()
        yield
        now = time.monotonic()
        took = now - began - standstills.within(began, now)
    assert took < seconds, f"took {took:.3f} s"


async def settled(app: web.Application) -> None:
    """Until this worker has applied the journal to its store: a moment after it has started, and after each reconnection."""

    async def is_so() -> bool:
        return app[SESSIONS].store_state() == "settled"

    await topology.until(is_so, "the store is settled")
