"""The one writer of a process: it commits for everybody who waits.

A commit waits for the disk, and SQLite makes one at a time. So what gathers while a commit runs goes into the next one.
Each step of such a group has a savepoint of its own: if it fails, it alone is undone. Nobody is told of success, or of a
failure that a neighbour may have caused, before the commit has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DatabaseUnavailable
from .direct import Step, run
from .file import Opened, open_file
from .turns import Turns

T = TypeVar("T")

GROUP = 256
"""Steps in one transaction at most."""


class Writer:
    """See `write`. One event loop uses it; the thread is started by the first step.

    `_waiting`: steps that the thread has not taken, in the order in which they came. `_changed` guards it and
    `_is_closing`. `_opened`: the thread's connection; None before the first step and after a fault.
    """

    def __init__(self, path: Path, *, begin_seconds: float, commit_seconds: float) -> None:
        self._path = path
        self._begin_seconds = begin_seconds
        self._commit_seconds = commit_seconds
        self._turns = Turns(path)
        self._changed = threading.Condition()
        self._waiting: dict[_Member, None] = {}
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._opened: Opened | None = None

    async def write(self, step: Step[T]) -> T:
        """Run a step in a transaction, and return what it returned when that is committed.

        The step runs in another thread, once at most. It awaits its connection only, and returns no open result.
        If it raises, what it wrote is undone, and nothing else is. A step whose caller was cancelled is left out if it has
        not begun; otherwise it is committed.
        Raises what the step raises. Raises `DatabaseUnavailable` if the step could not begin in time: then it never does.
        Raises it too if the commit failed or takes too long: then it may or may not be committed.
        """
        member = _Member(step, asyncio.get_running_loop())
        self._add(member)
        try:
            await asyncio.wait([member.future], timeout=self._begin_seconds)
            if not member.future.done():
                if self._is_withdrawn(member):
                    raise DatabaseUnavailable("the user database does not answer: others write to it")
                await asyncio.wait([member.future], timeout=self._commit_seconds)
            if not member.future.done():
                raise DatabaseUnavailable("the user database does not answer: a commit takes too long")
        except asyncio.CancelledError:
            self._is_withdrawn(member)
            raise
        return member.future.result()  # type: ignore[no-any-return]

    async def aclose(self, seconds: float) -> None:
        """Commit what waits, and end the thread. If it hangs, this returns after so many seconds."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, seconds)

    def _add(self, member: _Member) -> None:
        with self._changed:
            if self._is_closing:
                raise DatabaseUnavailable("the user database is closed")
            self._waiting[member] = None
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="stateroom sqlite writer", daemon=True)
                self._thread.start()

    def _is_withdrawn(self, member: _Member) -> bool:
        """Whether the thread has not taken this step, and now never will."""
        with self._changed:
            is_waiting = member in self._waiting
            self._waiting.pop(member, None)
            return is_waiting

    # The thread

    def _work(self) -> None:
        while self._is_awaited():
            with self._turns.one():
                members = self._commit_group()
            _deliver(members)
        self._close()
        self._turns.close()

    def _is_awaited(self) -> bool:
        """Wait for steps. False if there are none, and there will be none."""
        with self._changed:
            while not self._waiting and not self._is_closing:
                self._changed.wait()
            return bool(self._waiting)

    def _commit_group(self) -> list[_Member]:
        """Write all steps that wait, and return them with their outcomes: none if the file is locked."""
        members: list[_Member] = []
        try:
            opened = self._current()
            with opened.connection.begin():
                opened.raw.execute("BEGIN IMMEDIATE")
                members = self._take()
                _run_all(members, opened)
            if not opened.is_at_its_path():
                raise FileNotFoundError(f"{self._path} was replaced")  # noqa: TRY301 (handled as other faults of the file are)
        except Exception as error:  # noqa: BLE001 (everybody who waits must hear of it)
            self._close()
            if not members and _is_busy(error):
                return []  # each step waits as long as it has patience
            members = members or self._take()
            for member in members:
                member.error = DatabaseUnavailable(f"the user database does not answer: {type(error).__name__}")
                member.error.__cause__ = error
        return members

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

    def _take(self) -> list[_Member]:
        with self._changed:
            members = list(self._waiting)[:GROUP]
            for member in members:
                del self._waiting[member]
            return members


class _Member:
    """A step of a group, and what became of it."""

    __slots__ = ("error", "future", "loop", "result", "step")

    def __init__(self, step: Step[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.step = step
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
            self.future.exception()  # whoever waited may have gone


def _run_all(members: list[_Member], opened: Opened) -> None:
    """Run the steps inside the transaction. Raises if the whole transaction is lost."""
    for member in members:
        opened.raw.execute("SAVEPOINT step")
        try:
            member.result = run(member.step, opened.connection)
        except Exception as error:
            if not opened.raw.in_transaction:  # a full disk, say: https://www.sqlite.org/lang_transaction.html
                raise
            member.error = error
            opened.raw.execute("ROLLBACK TO step")
        opened.raw.execute("RELEASE step")


def _deliver(members: list[_Member]) -> None:
    """Tell the callers, in one step of their event loop."""

    def settle() -> None:
        for member in members:
            member.settle()

    if members:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            members[0].loop.call_soon_threadsafe(settle)


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
