"""A backup of a database in use has what was committed, and both ways to restore it bring exactly that back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stateroom.drills.backups import back_up, restore_by_rename, restore_in_place


@pytest.mark.parametrize("restore", [restore_by_rename, restore_in_place])
def test_rows_since_the_backup_are_gone(tmp_path: Path, restore: Callable[[Path, Path], None]) -> None:
    database, backup = tmp_path / "users.db", tmp_path / "backup.db"
    with contextlib.closing(sqlite3.connect(database)) as in_use:
        in_use.execute("PRAGMA journal_mode = WAL")
        in_use.execute("CREATE TABLE names (name TEXT)")
        in_use.execute("INSERT INTO names VALUES ('before')")
        in_use.commit()
        back_up(database, backup)
        in_use.execute("INSERT INTO names VALUES ('since')")
        in_use.commit()
        restore(backup, database)
        assert rows(database) == [("before",)]
        here = in_use.execute("SELECT name FROM names").fetchall()
    assert len(here) == (2 if restore is restore_by_rename else 1), "who has the file open keeps it after a rename"
    assert rows(database) == [("before",)]


def rows(database: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT name FROM names").fetchall()
