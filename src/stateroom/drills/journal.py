"""A user database that a drill can stop, start and restore: PostgreSQL if it is installed, else an SQLite file.

An SQLite file has no server that could be stopped. Instead the workers behave as if the database were unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..database import Database
from ..settings import Settings
from .backups import back_up, restore_by_rename, restore_in_place
from .postgres import Postgres, postgres_folder

JournalKind = Literal["PostgreSQL", "SQLite", "SQLite, restored in place"]


@dataclass
class StoppableJournal:
    """A database and the means to stop it and to restore it from a backup.

    `kind`: its product. `url`: for `DATABASE_URL`. `switches`: options of the workers.
    """

    kind: JournalKind
    url: str
    switches: list[str]
    stop_it: Callable[[], None]
    start_it: Callable[[], None]
    back_it_up: Callable[[], None]
    restore_it: Callable[[], None]

    async def stop(self) -> None:
        """Stop the database, and return when it no longer replies."""
        await asyncio.to_thread(self.stop_it)

    async def start(self) -> None:
        """Start the database, and return when it replies again."""
        await asyncio.to_thread(self.start_it)

    async def back_up(self) -> None:
        """Make a backup while the database is in use."""
        await asyncio.to_thread(self.back_it_up)

    async def restore(self) -> None:
        """Replace the database by the backup. This works while the database is in use."""
        await asyncio.to_thread(self.restore_it)


@contextlib.asynccontextmanager
async def stoppable_journal(folder: Path, kind: JournalKind | None = None) -> AsyncIterator[StoppableJournal]:
    """Start a database with the current schema. `kind`: its product; if None, PostgreSQL if it is installed, else SQLite."""
    programs = postgres_folder() if importlib.util.find_spec("asyncpg") is not None else None
    if kind is None:
        kind = "SQLite" if programs is None else "PostgreSQL"
    if kind != "PostgreSQL":
        switch, file, backup = folder / "database-away", folder / "users.db", folder / "backup.db"
        switch.parent.mkdir(parents=True, exist_ok=True)
        restore = restore_by_rename if kind == "SQLite" else restore_in_place
        yield StoppableJournal(
            kind, f"sqlite:///{file}", ["--database-switch", str(switch)],
            switch.touch, lambda: switch.unlink(missing_ok=True), lambda: back_up(file, backup), lambda: restore(backup, file),
        )  # fmt: skip
        return
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    server = await asyncio.to_thread(Postgres(programs).__enter__)
    try:
        url = await asyncio.to_thread(server.make_database)
        database = Database(Settings(_env_file=None, database_url=url))
        await database.upgrade()
        await database.aclose()
        dumps: list[bytes] = []
        yield StoppableJournal(
            "PostgreSQL", url, [], server.stop, server.start,
            lambda: dumps.append(server.dump(url)), lambda: server.restore(url, dumps[-1]),
        )  # fmt: skip
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
