"""Threads that read. They never wait for a writer: https://www.sqlite.org/wal.html"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from ..errors import DatabaseUnavailable
from .direct import Step, run
from .file import Opened, open_file
from .job import Job, settle

T = TypeVar("T")

READERS = 4


class Readers:
    """Threads, each with its own connection that cannot write. The first step starts them.

    `_jobs`: steps that no thread has begun, and a None for each thread that must end.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def read(self, step: Step[T]) -> T:
        """Run a step that only reads, in another thread. It may only await its connection, and must not return an open result.

        Raises what the step raises, and `DatabaseUnavailable` if it takes too long.
        """
        job = Job(step)
        late = DatabaseUnavailable("the user database does not answer: a query takes too long")
        job.timer = job.loop.call_later(self._seconds, job.fail, late)
        self._jobs.put(job)
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, name="stateroom sqlite reader", daemon=True) for _ in range(READERS)
            ]
            for each in self._threads:
                each.start()
        try:
            result: T = await job.future
            return result
        finally:
            job.timer.cancel()

    async def aclose(self, seconds: float) -> None:
        """Wait for running steps, and close the connections. If a statement hangs, stop waiting after `seconds`."""
        for _ in self._threads:
            self._jobs.put(None)
        await asyncio.gather(*(asyncio.to_thread(each.join, seconds) for each in self._threads))

    def _work(self) -> None:
        opened: Opened | None = None
        while (job := self._jobs.get()) is not None:
            if job.future.done():  # The caller was cancelled, or its time is over.
                continue
            try:
                if opened is not None and not opened.is_at_its_path():
                    opened.close()
                    opened = None
                if opened is None:
                    opened = open_file(self._path)
                    opened.raw.execute("PRAGMA query_only = ON")
                job.result = run(job.step, opened.connection)
                opened.connection.rollback()  # Ends the transaction that SQLAlchemy thinks is open.
            except Exception as error:  # noqa: BLE001 (the caller raises it)
                job.error = error
                if opened is not None:
                    opened.close()
                    opened = None
            settle([job])
        if opened is not None:
            opened.close()
