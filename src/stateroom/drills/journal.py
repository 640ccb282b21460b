"""A user database that a drill can stop and start: PostgreSQL if it is installed, else an SQLite file.

An SQLite file has no server that could be stopped. Instead the workers behave as if the database did not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from ..database import Database
from ..settings import Settings
from .postgres import Postgres, postgres_folder


@dataclass
class StoppableJournal:
    """A database and the means to stop it. `kind`: its product. `url`: for `DATABASE_URL`. `switches`: options of the workers."""

    kind: str
    url: str
    switches: list[str]
    stop_it: Callable[[], None]
    start_it: Callable[[], None]

    async def stop(self) -> None:
        """Return when the database no longer answers."""
        await asyncio.to_thread(self.stop_it)

    async def start(self) -> None:
        """Return when the database answers again."""
        await asyncio.to_thread(self.start_it)


@contextlib.asynccontextmanager
async def stoppable_journal(folder: Path) -> AsyncIterator[StoppableJournal]:
    """Start a database with the current schema."""
    programs = postgres_folder()
    if programs is None or importlib.util.find_spec("asyncpg") is None:
        switch = folder / "database-away"
        switch.parent.mkdir(parents=True, exist_ok=True)
        yield StoppableJournal(
            "SQLite", f"sqlite:///{folder}/users.db", ["--database-switch", str(switch)],
            switch.touch, lambda: switch.unlink(missing_ok=True),
        )  # fmt: skip
        return
    server = await asyncio.to_thread(Postgres(programs).__enter__)
    try:
        url = await asyncio.to_thread(server.make_database)
        database = Database(Settings(_env_file=None, database_url=url))
        await database.upgrade()
        await database.aclose()
        yield StoppableJournal("PostgreSQL", url, [], server.stop, server.start)
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
