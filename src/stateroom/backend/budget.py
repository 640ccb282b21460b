"""Limits how long one request waits for Redis in total.

A request takes several steps: load, save, renew. If a server hangs, each step could wait for the whole read time-out.
All steps of a request together may wait only that long. Successful waits count too. Code that runs outside a request
has no budget: each of its steps may wait for the whole time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from ..errors import StoreUnavailable

T = TypeVar("T")

_SPENT = "the request has used all the time that it may wait for Redis (REDIS_READ_TIMEOUT)"


class Budget:
    """The time that one request may still wait. `left` is in seconds; it only decreases, and the last step may take it below 0.

    `is_over`: the response has been sent. A task that the handler has started may live on. It has no budget.
    """

    __slots__ = ("is_over", "left")

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.is_over = False


BUDGET: ContextVar[Budget | None] = ContextVar("stateroom_budget", default=None)


def seconds_left(most: float) -> float:
    """How many seconds the next step may wait: the rest of the budget, and at most `most`. Never below 0."""
    budget = BUDGET.get()
    return most if budget is None or budget.is_over else max(0.0, min(most, budget.left))


def spend(seconds: float) -> None:
    """Take this wait from the request's budget."""
    budget = BUDGET.get()
    if budget is not None:
        budget.left -= seconds


@contextlib.contextmanager
def during_request() -> Iterator[None]:
    """Steps after the handler has returned are part of the request too: they use its budget."""
    budget = BUDGET.get()
    was_over = budget is not None and budget.is_over
    if budget is not None:
        budget.is_over = False
    try:
        yield
    finally:
        if budget is not None:
            budget.is_over = was_over


async def within_budget(step: Awaitable[T]) -> T:
    """Wait for a step, at most for the rest of the request's budget. Without a budget there is no limit here.

    Raises `StoreUnavailable` (kind `timeout`) if the budget is spent. This does not mean that the server is unavailable.
    Then a coroutine is never started. So it must not hold a command that was sent before; it sends its commands itself.
    """
    budget = BUDGET.get()
    if budget is None or budget.is_over:
        return await step
    if budget.left <= 0:
        if asyncio.iscoroutine(step):
            step.close()
        elif isinstance(step, asyncio.Future):  # its error would never be read, and asyncio would log that
            step.cancel()
        raise StoreUnavailable(_SPENT, kind="timeout")
    began = time.monotonic()
    try:
        async with asyncio.timeout(budget.left):
            return await step
    except TimeoutError:
        raise StoreUnavailable(_SPENT, kind="timeout") from None
    finally:
        budget.left -= time.monotonic() - began


async def aside(step: Awaitable[T]) -> T:
    """Wait for a step, and give the time back if it succeeds. Counting must not use up the time for the session.

    If many users sign in at once, each of their steps is slow although Redis is not.
    """
    budget = BUDGET.get()
    left = 0.0 if budget is None else budget.left
    result = await step
    if budget is not None:
        budget.left = left
    return result
