"""Threads that read. They never wait for a writer: https://www.sqlite.org/wal.html"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..errors import DatabaseUnavailable
from .direct import Step, run
from .file import Opened, open_file

T = TypeVar("T")

READERS = 4


class Readers:
    """Each thread has a connection of its own, which cannot write."""

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._executor = ThreadPoolExecutor(READERS, "stateroom-sqlite-read")
        self._own = threading.local()
        self._all: list[Opened] = []

    async def read(self, step: Step[T]) -> T:
        """Run a step that reads, in another thread. It awaits its connection only, and returns no open result.

        Raises what the step raises, and `DatabaseUnavailable` if it takes too long.
        """
        reading = asyncio.get_running_loop().run_in_executor(self._executor, self._run, step)
        done, _ = await asyncio.wait([reading], timeout=self._seconds)
        if not done:
            reading.cancel()  # it does not begin any more; a statement that runs goes on to its end
            raise DatabaseUnavailable("the user database does not answer: a query takes too long")
        return reading.result()

    async def aclose(self) -> None:
        """Wait for statements that still run, and close the connections."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        for each in self._all:
            each.close()

    def _run(self, step: Step[T]) -> T:
        opened: Opened | None = getattr(self._own, "opened", None)
        if opened is not None and not opened.is_at_its_path():
            self._drop(opened)
            opened = None
        if opened is None:
            opened = open_file(self._path)
            opened.raw.execute("PRAGMA query_only = ON")
            self._own.opened = opened
            self._all.append(opened)
        try:
            result = run(step, opened.connection)
            opened.connection.rollback()  # ends what SQLAlchemy takes for a transaction
        except Exception:
            self._drop(opened)
            raise
        return result

    def _drop(self, opened: Opened) -> None:
        self._own.opened = None
        self._all.remove(opened)
        opened.close()
