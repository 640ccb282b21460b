"""Runs a step to its end, even if the handler is cancelled.

`asyncio.timeout`, or the end of the connection, may cancel a handler in the middle of a step. The end of the former session
may be committed by then, and only the rest of the step gives the request the new session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def whole(step: Coroutine[Any, Any, T]) -> T:
    """Wait for the step. If the caller is cancelled meanwhile, that is passed on when the step has ended.

    Each wait of a step is bounded by a time-out of its own.
    """
    task = asyncio.get_running_loop().create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody else asks for it
        raise
