"""A step that a thread runs for a caller on an event loop, and its result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from .direct import Step


class Job:
    """Compared by identity. The thread sets `result` or `error`, and then calls `settle`.

    `timer`: the time-out of the caller. `is_begun`: whether the thread has taken the step. Such a step is always run.
    """

    __slots__ = ("error", "future", "is_begun", "loop", "result", "step", "timer")

    def __init__(self, step: Step[Any]) -> None:
        self.step = step
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.is_begun = False
        self.result: Any = None
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Raise this to the caller, unless the caller has its result or was cancelled."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # the caller may have been cancelled before it awaits the future

    def settle(self) -> None:
        if self.error is not None:
            self.fail(self.error)
        elif not self.future.done():
            self.future.set_result(self.result)


def settle(jobs: Sequence[Job]) -> None:
    """Give all callers their results in one callback of their event loop, which they share. A thread calls this."""

    def tell() -> None:
        for job in jobs:
            job.settle()

    if jobs:
        with contextlib.suppress(RuntimeError):  # The loop is closed, so no caller waits.
            jobs[0].loop.call_soon_threadsafe(tell)
