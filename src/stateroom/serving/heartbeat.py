"""Notices a worker that lives and does not answer: a stopped process, or an event loop that is blocked.

The supervisor asks on the worker's standard input, and the worker's event loop answers on a pipe that was its standard output.
The supervisor counts its own questions, not the time between two looks at a clock. If the supervisor itself or the whole
machine was suspended, one question at most looks unanswered, and no healthy worker is taken for a silent one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

QUESTIONS = 8
"""A worker is silent after so many questions without an answer. They are spread over `WORKER_TIMEOUT`."""
STARTING = 6
"""A worker that starts may be silent for so many times `WORKER_TIMEOUT`: it answers when it has loaded its program."""
_QUESTION, _ANSWER = b"?", b"!"


async def becomes_ready(worker: asyncio.subprocess.Process, ready: bytes, timeout_seconds: float) -> bool:
    """Ask a worker that starts, until it writes the line `ready`. False if it has ended instead.

    Raises `TimeoutError` if it has not answered for this time.
    """
    unfinished = b""
    async with contextlib.aclosing(_told(worker, timeout_seconds)) as told:
        async for some in told:
            *lines, unfinished = (unfinished + some).split(b"\n")
            if any(line.lstrip(_ANSWER) == ready.rstrip(b"\n") for line in lines):
                return True
    return False


async def falls_silent(worker: asyncio.subprocess.Process, timeout_seconds: float) -> bool:
    """Ask a ready worker, until it has not answered for this time. False if it cannot answer any more, because it has ended."""
    try:
        async with contextlib.aclosing(_told(worker, timeout_seconds)) as told:
            async for _ in told:
                pass
    except TimeoutError:
        return True
    return False


async def _told(worker: asyncio.subprocess.Process, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
    """What a worker writes while it is asked, until it ends. Raises `TimeoutError` if it has not answered for this time."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    loop, unanswered = asyncio.get_running_loop(), 0
    while unanswered < QUESTIONS:
        worker.stdin.write(_QUESTION)
        until, unanswered = loop.time() + timeout_seconds / QUESTIONS, unanswered + 1
        while (some := await _read(worker.stdout, until)) is not None:
            if not some:
                return
            unanswered = 0
            yield some
    raise TimeoutError


async def _read(stream: asyncio.StreamReader, until: float) -> bytes | None:
    """What comes next; nothing at the end of the stream, and None if nothing comes before this time of the event loop."""
    try:
        async with asyncio.timeout_at(until):
            return await stream.read(1024)
    except TimeoutError:
        return None


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
