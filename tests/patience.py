"""Bounds on time that hold on a busy machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

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
