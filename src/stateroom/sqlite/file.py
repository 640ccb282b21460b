"""The database file and its connections.

SQLite continues to use a file that was renamed or deleted, and no other process sees what it writes there. Therefore a
connection knows which file it opened, and its user checks that the path still leads to that file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine

BUSY_SECONDS = 2.0
"""How long SQLite itself waits for a lock of another process."""


class Opened:
    """A connection of one thread. Outside a transaction, each statement is a transaction of its own."""

    def __init__(self, path: Path, engine: Engine, raw: sqlite3.Connection, identity: tuple[int, int]) -> None:
        self._path = path
        self._identity = identity
        self.raw = raw
        self.connection: Connection = engine.connect()

    def is_at_its_path(self) -> bool:
        """Whether the path still leads to the file of this connection."""
        return identity(self._path) == self._identity

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
        with contextlib.suppress(Exception):
            self.connection.invalidate()
            self.connection.close()
        with contextlib.suppress(sqlite3.Error):
            self.raw.close()


def open_file(path: Path) -> Opened:
    """Open an existing file. Raises SQLAlchemy's and sqlite3's errors, and `OSError` if the file does not exist."""
    before = path.stat()
    raw = sqlite3.connect(
        # "rw" never makes a file: https://www.sqlite.org/uri.html
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        set_pragmas(raw)
        if identity(path) != (before.st_dev, before.st_ino):
            raise FileNotFoundError(f"{path} was replaced while it was opened")  # noqa: TRY301 (the connection is closed below)
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=NullPool, hide_parameters=True)
        return Opened(path, engine, raw, (before.st_dev, before.st_ino))
    except BaseException:
        raw.close()
        raise


def set_pragmas(connection: sqlite3.Connection) -> None:
    """Make readers never wait for a writer, and make a commit that has returned survive a loss of power."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at this path, which no other file has; None if there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 (each step calls it, and os.stat is twice as quick)
    except OSError:
        return None
    return found.st_dev, found.st_ino
