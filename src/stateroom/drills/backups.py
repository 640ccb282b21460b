"""Backups of an SQLite user database, and two ways to restore one while processes have it open.

Both copies are made with SQLite's online backup, which takes what is in the write-ahead log too:
https://www.sqlite.org/backup.html
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

BUSY_SECONDS = 5.0


def back_up(database: Path, to: Path) -> None:
    """Copy a database that is in use."""
    _copy(database, to)


def restore_by_rename(backup: Path, database: Path) -> None:
    """Put a copy of the backup in the database's place. Processes that have it open keep the old file, which has no name now."""
    copy = database.with_name(f"{database.name}.restored")
    _copy(backup, copy)
    for suffix in ("-wal", "-shm"):  # They belong to the old file. SQLite would replay its log into the new one.
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    copy.replace(database)


def restore_in_place(backup: Path, database: Path) -> None:
    """Write the backup's pages into the database, in one transaction. The file stays the same."""
    _copy(backup, database)


def _copy(source: Path, to: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as read,
        contextlib.closing(sqlite3.connect(to, timeout=BUSY_SECONDS)) as write,
    ):
        read.backup(write)
