"""Keeps the background loops of a process running. An unexpected error ends one round of a loop, not the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..logs import get_logger

if TYPE_CHECKING:
    from .metrics import Metrics

log = get_logger(__name__)

PAUSE_SECONDS = 1.0
"""The pause after an unexpected error. A lasting fault then writes only one log line a second, and does not use up a core."""


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
