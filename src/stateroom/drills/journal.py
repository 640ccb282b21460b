"""A user database that can be taken away and come back: PostgreSQL where it is installed, else an SQLite file.

PostgreSQL is stopped as a server. A file has no server: then the workers are told to behave as if it did not answer.
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
    """`url` and `switches` are for the workers; `kind` says what it is."""

    kind: str
    url: str
    switches: list[str]
    take_away: Callable[[], None]
    bring_back: Callable[[], None]

    async def stop(self) -> None:
        await asyncio.to_thread(self.take_away)

    async def start(self) -> None:
        await asyncio.to_thread(self.bring_back)


@contextlib.asynccontextmanager
async def stoppable_journal(folder: Path) -> AsyncIterator[StoppableJournal]:
    """One that answers when this returns."""
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
