"""What a process does beside its requests goes on as long as the process does: an error ends a turn, not the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from .metrics import Metrics

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
"""After an error that nobody foresaw: one line of the log a second, and no busy loop."""


async def keep_going(loop: Callable[[], Awaitable[None]], name: str, metrics: Metrics) -> None:
    """Run a loop until it returns; where an error ends it, say so and begin it again. `name`: one of `metrics.LOOPS`."""
    while True:
        try:
            await loop()
        except Exception:
            metrics.loop_errors[name].inc()
            log.exception("loop_failed", loop=name)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return
