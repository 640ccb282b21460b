"""One budget per request for all waits on Redis.

A request makes several steps (load, save, renew). Each could wait the whole read time-out while a server hangs;
together they may wait as long as one. Waits that end well count too. What runs outside a request has no budget, and
each of its steps the whole time-out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from ..errors import StoreUnavailable

T = TypeVar("T")

_SPENT = "the request has waited for Redis as long as it may (REDIS_READ_TIMEOUT)"


class Budget:
    """Seconds that are left for waiting."""

    __slots__ = ("left",)

    def __init__(self, seconds: float) -> None:
        self.left = seconds


BUDGET: ContextVar[Budget | None] = ContextVar("stateroom_budget", default=None)


def seconds_left(most: float) -> float:
    """How long a step may wait that may wait `most` seconds by itself."""
    budget = BUDGET.get()
    return most if budget is None else max(0.0, min(most, budget.left))


def spend(seconds: float) -> None:
    """So long the request has waited."""
    budget = BUDGET.get()
    if budget is not None:
        budget.left -= seconds


async def within_budget(step: Awaitable[T]) -> T:
    """Wait for a step as long as the request may; without a budget, as long as the step does by itself.

    Raises `StoreUnavailable` (kind `timeout`) when the budget is spent. That says nothing about the server.
    """
    budget = BUDGET.get()
    if budget is None:
        return await step
    if budget.left <= 0:
        if asyncio.iscoroutine(step):
            step.close()
        raise StoreUnavailable(_SPENT, kind="timeout")
    began = time.monotonic()
    try:
        async with asyncio.timeout(budget.left):
            return await step
    except TimeoutError:
        raise StoreUnavailable(_SPENT, kind="timeout") from None
    finally:
        budget.left -= time.monotonic() - began
