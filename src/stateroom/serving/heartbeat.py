"""Notices a worker that lives and does not answer: a stopped process, or an event loop that is blocked.

The supervisor asks on the worker's standard input, and the worker's event loop answers on a pipe that was its standard output.
The supervisor counts its own questions, not the time between two looks at a clock. If the supervisor itself or the whole
machine was suspended, one question at most looks unanswered, and no healthy worker is taken for a silent one.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTIONS = 8
"""A worker is silent after so many questions without an answer. They are spread over `WORKER_TIMEOUT`."""
_QUESTION, _ANSWER = b"?", b"!"


async def falls_silent(worker: asyncio.subprocess.Process, timeout_seconds: float) -> bool:
    """Ask a ready worker, until it has not answered for this time. False if it cannot answer any more, because it has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    unanswered = 0
    while unanswered < QUESTIONS:
        worker.stdin.write(_QUESTION)
        has_answered = False
        try:
            async with asyncio.timeout(timeout_seconds / QUESTIONS):
                while await worker.stdout.read(1024):
                    has_answered = True
                return False
        except TimeoutError:
            unanswered = 0 if has_answered else unanswered + 1
    return True


def answer_supervisor(on_orphaned: Callable[[], None]) -> None:
    """Answer the supervisor's questions on this event loop. `on_orphaned` is called when the supervisor has died.

    Call this in a worker, while its standard output is still the pipe to the supervisor.
    """
    loop = asyncio.get_running_loop()
    answers = os.dup(1)

    def read() -> None:
        if os.read(0, 1024):
            try:
                os.write(answers, _ANSWER)
            except BrokenPipeError:  # the supervisor has died meanwhile; the next read says so
                return
        else:
            loop.remove_reader(0)
            on_orphaned()

    loop.add_reader(0, read)
