"""The one writer of a process. It commits the steps of all callers that wait.

A commit waits for the disk, and SQLite makes one commit at a time. Therefore the steps that arrive during a commit go into
the next commit together. Each step of such a group has its own savepoint, so that only a failed step is undone. A caller
learns of success, or of a failure that another step may have caused, only after the commit has returned.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from ..errors import DatabaseUnavailable
from .direct import Step, run
from .file import Opened, open_file
from .job import Job, settle
from .turns import Turns

T = TypeVar("T")

GROUP = 256
"""The greatest number of steps in one transaction."""


class Writer:
    """See `write`. One event loop uses it. The first step starts the thread.

    `_waiting`: steps that the thread has not taken, in the order in which they came. `_lock` guards it, `_is_idle` and
    `_is_closing`. `_is_idle`: the thread waits for something in `_wake`. `_opened`: the thread's connection; None before
    the first step and after a fault.
    """

    def __init__(self, path: Path, *, begin_seconds: float, commit_seconds: float) -> None:
        self._path = path
        self._begin_seconds = begin_seconds
        self._commit_seconds = commit_seconds
        self._turns = Turns(path)
        self._lock = threading.Lock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._waiting: dict[Job, None] = {}
        self._is_idle = False
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._opened: Opened | None = None

    async def write(self, step: Step[T]) -> T:
        """Run a step in a transaction, and return what it returned when that is committed.

        The step runs in another thread, at most once. It may only await its connection, and must not return an open result.
        If it raises, only its own writes are undone. If its caller is cancelled, the step is dropped if it has not begun;
        if it has begun, it is committed.

        Raises what the step raises. Raises `DatabaseUnavailable` if the step could not begin in time; such a step never
        runs. Raises it too if the commit failed or takes too long; such a step may or may not be committed.
        """
        job = Job(step)
        self._add(job)
        job.timer = job.loop.call_later(self._begin_seconds, self._lose_patience, job)
        try:
            result: T = await job.future
            return result
        except asyncio.CancelledError:
            self._is_withdrawn(job)
            raise
        finally:
            job.timer.cancel()

    async def aclose(self, seconds: float) -> None:
        """Commit the waiting steps, and end the thread. If it hangs, stop waiting after `seconds`."""
        with self._lock:
            self._is_closing = True
        self._wake.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, seconds)

    def _add(self, job: Job) -> None:
        with self._lock:
            if self._is_closing:
                raise DatabaseUnavailable("the user database is closed")
            self._waiting[job] = None
            is_idle, self._is_idle = self._is_idle, False
        if is_idle:
            self._wake.put(None)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="stateroom sqlite writer", daemon=True)
            self._thread.start()

    def _is_withdrawn(self, job: Job) -> bool:
        """Withdraw this step. False if the thread has taken it already."""
        with self._lock:
            self._waiting.pop(job, None)
            return not job.is_begun

    def _lose_patience(self, job: Job) -> None:
        if self._is_withdrawn(job):
            job.fail(DatabaseUnavailable("the user database does not answer: other processes write to it"))
        else:
            error = DatabaseUnavailable("the user database does not answer: a commit takes too long")
            job.timer = job.loop.call_later(self._commit_seconds, job.fail, error)

    # The thread

    def _work(self) -> None:
        while self._is_awaited():
            with self._turns.one():
                jobs = self._commit_group()
            settle(jobs)
        self._close()
        self._turns.close()

    def _is_awaited(self) -> bool:
        """Wait for steps. False if there are none and the writer is closing."""
        while True:
            with self._lock:
                if self._waiting or self._is_closing:
                    return bool(self._waiting)
                self._is_idle = True
            self._wake.get()

    def _commit_group(self) -> list[Job]:
        """Write the waiting steps, and return them with their results. Returns no steps if the file is locked."""
        jobs: list[Job] = []
        try:
            opened = self._current()
            with opened.connection.begin():
                opened.raw.execute("BEGIN IMMEDIATE")
                jobs = self._take()
                _run_all(jobs, opened)
            if not opened.is_at_its_path():
                raise FileNotFoundError(f"{self._path} was replaced")  # noqa: TRY301 (handled as other faults of the file are)
        except Exception as error:  # noqa: BLE001 (all waiting callers get the error)
            self._close()
            if not jobs and _is_busy(error):
                return []  # Each step waits until its own time-out.
            jobs = jobs or self._take()
            for job in jobs:
                job.error = DatabaseUnavailable(f"the user database does not answer: {type(error).__name__}")
                job.error.__cause__ = error
        return jobs

    def _current(self) -> Opened:
        """The connection, to the file that is at the path now."""
        if self._opened is not None and not self._opened.is_at_its_path():
            self._close()
        if self._opened is None:
            self._opened = open_file(self._path)
        return self._opened

    def _close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.close()

    def _take(self) -> list[Job]:
        with self._lock:
            jobs = list(self._waiting)[:GROUP]
            for job in jobs:
                del self._waiting[job]
                job.is_begun = True
            return jobs


def _run_all(jobs: list[Job], opened: Opened) -> None:
    """Run the steps inside the transaction. Raises if the whole transaction is lost."""
    for job in jobs:
        opened.raw.execute("SAVEPOINT step")
        try:
            job.result = run(job.step, opened.connection)
        except Exception as error:
            if not opened.raw.in_transaction:  # For example the disk is full: https://www.sqlite.org/lang_transaction.html
                raise
            job.error = error
            opened.raw.execute("ROLLBACK TO step")
        opened.raw.execute("RELEASE step")


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
