"""User databases of both products: made empty, backed up, taken back, copied, and asked by SQL."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from stateroom.database import Database
from stateroom.drills.backups import back_up, restore_in_place
from stateroom.drills.postgres import Postgres
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings


class UserDatabase(ABC):
    """One database. `url`: its `DATABASE_URL`."""

    url: str

    @abstractmethod
    def back_up(self) -> None:
        """Remember what it has now, in place of what was remembered before."""

    @abstractmethod
    def restore(self) -> None:
        """Bring back what was remembered, while services use the database."""

    @abstractmethod
    def copy(self) -> UserDatabase:
        """Another database, made of what was remembered."""

    @abstractmethod
    def become(self, other: UserDatabase) -> None:
        """Let our name lead to what the other one has now, as a wrong change of a name does, while services use it."""

    @abstractmethod
    def lose(self) -> None:
        """Delete everything. No service may be running."""

    def make_schema(self) -> None:
        """As `stateroom db upgrade` does. The service does this for an SQLite file when it starts."""

        async def upgrade(database: Database) -> None:
            await database.upgrade()

        asyncio.run(self._with(upgrade))

    def ask(self, sql: str, **values: Any) -> list[Any]:
        """The first column of a query's answer."""

        async def step(database: Database) -> list[Any]:
            async with database.connect() as connection:
                return list((await connection.execute(text(sql), values)).scalars())

        return list(asyncio.run(self._with(step)))

    def change(self, sql: str, **values: Any) -> int:
        """Change rows. Returns how many."""

        async def step(database: Database) -> int:
            async def change(connection: Any) -> int:
                return int((await connection.execute(text(sql), values)).rowcount)

            return await database.write(change)

        return int(asyncio.run(self._with(step)))

    async def _with(self, step: Callable[[Database], Any]) -> Any:
        database = Database(Settings(_env_file=None, redis_mode="single", cookie_keys=new_key(), database_url=self.url))
        try:
            return await step(database)
        finally:
            await database.aclose()


class SqliteFile(UserDatabase):
    """A file in a folder of its own. `put_back`: how a backup is restored."""

    def __init__(self, folder: Path, put_back: Callable[[Path, Path], None] = restore_in_place) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._put_back = folder, put_back
        self._file, self._backup = folder / "users.db", folder / "backup.db"
        self.url = f"sqlite:///{self._file}"

    def back_up(self) -> None:
        back_up(self._file, self._backup)

    def restore(self) -> None:
        self._put_back(self._backup, self._file)

    def copy(self) -> SqliteFile:
        made = SqliteFile(self._folder.with_name(f"{self._folder.name}-copy"), self._put_back)
        restore_in_place(self._backup, made._file)
        return made

    def become(self, other: UserDatabase) -> None:
        assert isinstance(other, SqliteFile)
        other.back_up()
        self._put_back(other._backup, self._file)

    def lose(self) -> None:
        for each in self._folder.glob("users.db*"):
            each.unlink()


class PostgresDatabase(UserDatabase):
    """One of a server's databases."""

    def __init__(self, server: Postgres, *, has_schema: bool = True) -> None:
        self._server = server
        self._dump = b""
        self.url = server.make_database()
        self._empty = server.dump(self.url)
        if has_schema:
            self.make_schema()

    def back_up(self) -> None:
        self._dump = self._server.dump(self.url)

    def restore(self) -> None:
        self._server.restore(self.url, self._dump)

    def copy(self) -> PostgresDatabase:
        made = PostgresDatabase(self._server, has_schema=False)
        self._server.restore(made.url, self._dump)
        return made

    def become(self, other: UserDatabase) -> None:
        self._server.restore(self.url, self._server.dump(other.url))

    def lose(self) -> None:
        self._server.restore(self.url, self._empty)
        self.make_schema()
