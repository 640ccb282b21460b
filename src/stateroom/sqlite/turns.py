"""Turns for the processes of one host that write to one file.

SQLite gives its write lock to the process that asks at the right moment. A waiting process asks again after up to 100 ms.
Therefore a process that writes all the time would keep the others from writing. With turns, processes queue at two locked
files: a process that wants to write first locks `next`, then `turn`. A process that has just written finds `next` locked
by the next process, and queues behind it.

Turns only make writing fair. SQLite's own lock protects the file, with or without a turn. If a process is stopped during
its turn, each other process waits for it once, and then writes without turns until the stopped process gives its turn back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

PATIENCE_SECONDS = 1.0
"""A process that has waited this long writes without a turn. Several processes together commit in less time."""


class Turns:
    """The turns of one process. One thread uses them.

    `_asking`: the thread of `_wait`; None if it does not run. It is a thread, because waiting for a locked file has no
    time-out. `_given`: set when that thread has the turn. `_is_closed`: `close` was called. `close` and `_wait` may end in
    either order, and the later one closes the files.
    """

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_name(f".{path.name}.{name}") for name in ("next", "turn")]
        self._files: list[int] = []
        self._asking: threading.Thread | None = None
        self._given = threading.Event()
        self._closing = threading.Lock()
        self._is_closed = False

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Take a turn for the block. After `PATIENCE_SECONDS`, or if the files cannot be locked, the block runs without one."""
        has_turn = self._take()
        try:
            yield
        finally:
            if has_turn:
                self._give_back()

    def close(self) -> None:
        """Leave the queue. A thread that still waits closes the files when it has its turn."""
        with self._closing:
            self._is_closed = True
            if self._asking is None or self._given.is_set():
                self._close_files()

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop())

    def _take(self) -> bool:
        try:
            if self._asking is not None:  # Another process did not give its turn back the last time.
                return self._is_given(0.0)
            if not self._files:
                self._files = [os.open(each, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600) for each in self._paths]
            following, turn = self._files
            if _is_locked(following) and _is_locked(turn):
                fcntl.flock(following, fcntl.LOCK_UN)
                return True
        except OSError:  # The folder cannot be written, or the file system has no locks.
            return False
        self._given.clear()
        self._asking = threading.Thread(target=self._wait, args=(following, turn), name="stateroom sqlite turn", daemon=True)
        self._asking.start()
        return self._is_given(PATIENCE_SECONDS)

    def _is_given(self, seconds: float) -> bool:
        if not self._given.wait(seconds):
            return False
        self._asking = None
        return True

    def _wait(self, following: int, turn: int) -> None:
        try:
            fcntl.flock(following, fcntl.LOCK_EX)  # Does nothing if we have that lock.
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(following, fcntl.LOCK_UN)
        except OSError:
            return
        with self._closing:
            self._given.set()
            if self._is_closed:
                self._close_files()

    def _give_back(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._files[1], fcntl.LOCK_UN)


def _is_locked(file: int) -> bool:
    """Lock this file without waiting. Returns whether we have the lock now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
