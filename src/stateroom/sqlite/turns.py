"""Turns for the processes of one host that write to one file.

SQLite gives its write lock to whoever asks at the right moment. A waiting process asks again after up to 100 ms, so a
process that writes all the time leaves nothing to the others. Here they queue at two locked files: who wants to write
waits at `next` first, and goes from there to `turn`. A process that has just written finds the next one at `next`, and
queues behind it.

A turn is a matter of fairness. SQLite's lock keeps the file whole, whether or not somebody had a turn. So a process that
was stopped in its turn holds the others up once: they go on without turns until it has given it back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

PATIENCE_SECONDS = 1.0
"""How long somebody waits for a turn, and then writes without one: longer than several processes take for a commit each."""


class Turns:
    """The turns of one process. One thread uses them.

    `_asking`: whether `_wait` runs, in a thread of its own, because waiting for a locked file has no time-out.
    `_given`: set when it has the turn. `_is_closed`: whoever sees the other's part done closes the files.
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
        """A turn, for the block. Without one after `PATIENCE_SECONDS`, or if the files cannot be locked."""
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
            if self._asking is not None:  # somebody who never gives it back had it the last time
                return self._is_given(0.0)
            if not self._files:
                self._files = [os.open(each, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600) for each in self._paths]
            following, turn = self._files
            if _is_locked(following) and _is_locked(turn):
                fcntl.flock(following, fcntl.LOCK_UN)
                return True
        except OSError:  # a folder that cannot be written, or a file system without locks
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
            fcntl.flock(following, fcntl.LOCK_EX)  # does nothing if it has that lock
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
    """Whether we have this lock now, without waiting."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
