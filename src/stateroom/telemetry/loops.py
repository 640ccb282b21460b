"""Keeps the background loops of a process running. An unexpected error ends one round of a loop, not the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from ..logs import get_logger

if TYPE_CHECKING:
    from .metrics import Metrics

log = get_logger(__name__)

PAUSE_SECONDS = 1.0
"""The pause after an unexpected error. A lasting fault then writes only one log line a second, and does not use up a core."""

CANCEL_AGAIN_SECONDS = 0.5


@contextlib.asynccontextmanager
async def kept_running(loop: Callable[[], Awaitable[None]], name: str, metrics: Metrics) -> AsyncIterator[None]:
    """Keep a loop running in a task, until the end of the block. `name`: as in `keep_going`."""
    task = asyncio.create_task(keep_going(loop, name, metrics), name=f"stateroom {name}")
    try:
        yield
    finally:
        while not task.done():  # redis-py swallows a cancellation now and then
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)


async def keep_going(loop: Callable[[], Awaitable[None]], name: str, metrics: Metrics) -> None:
    """Run a loop until it returns. After an error, log the error, count it, and start the loop again.

    `name`: one of `metrics.LOOPS`.
    """
    while True:
        try:
            await loop()
        except Exception:
            metrics.loop_errors[name].inc()
            log.exception("loop_failed", loop=name)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return
