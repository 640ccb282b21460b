"""Steps that are taken to their end, once begun.

A handler may be cancelled in the middle of one: by `asyncio.timeout`, or with its connection. The end of the former session
may be committed by then, and only the rest of the step tells the request of the new one.
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
