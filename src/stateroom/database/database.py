"""The engine of one process, and the two ways to run a step in it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import NullPool, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from .. import migrations
from ..errors import DatabaseUnavailable, SettingsError
from ..logs import get_logger
from ..private import close_file, open_private, own_folder
from ..settings import ENCODE_IT, RAW, has_raw_character
from ..sqlite.direct import Step
from ..sqlite.file import set_pragmas
from ..sqlite.quiet import hide_this_thread
from ..sqlite.readers import Readers
from ..sqlite.writer import Writer
from .faults import faults, folder_faults, refusals
from .idle import check_alive, note_idle
from .urls import EXAMPLE, postgres_dsn, sqlite_url

if TYPE_CHECKING:
    from asyncpg import Connection as PostgresConnection

    from ..settings import Settings

log = get_logger(__name__)

T = TypeVar("T")

POOL_SIZE = 5
POOL_OVERFLOW = 5
CONNECT_TIMEOUT_SECONDS = 2.0
"""How long a caller waits for a connection in total: for the pool, for the ping, and for a new connection.

A new connection to PostgreSQL takes 6 round trips, and the first one 15 more. So a deployment with a long lease, which has slow
links, waits for `CONNECT_LEASES` leases, and at most for `LONGEST_CONNECT_TIMEOUT_SECONDS`.
"""
CONNECT_LEASES = 4
LONGEST_CONNECT_TIMEOUT_SECONDS = 7.0
STATEMENT_TIMEOUT_SECONDS = 2.0


class Database:
    """Owns the engine of one process. Raises `SettingsError` if `DATABASE_URL` can never work."""

    def __init__(self, settings: Settings) -> None:
        self._setting = "STATE_DIR" if settings.database_url is None else "DATABASE_URL"
        self._sqlite = sqlite_url(settings)
        self._dsn = "" if self._sqlite is not None else postgres_dsn(settings)
        patient = max(CONNECT_TIMEOUT_SECONDS, CONNECT_LEASES * settings.journal_lease)
        self._connect_timeout = min(patient, LONGEST_CONNECT_TIMEOUT_SECONDS)
        self._engine: AsyncEngine | None = None
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # The threads of SQLite, one for each connection.

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is an SQLite file. If not, it is PostgreSQL."""
        return self._sqlite is not None

    @property
    def place(self) -> str:
        """The path of the SQLite file, or "PostgreSQL at" and the host. Never a password."""
        if self._sqlite is not None:
            return str(self._sqlite.database)
        host = self._dsn.partition("://")[2].rpartition("@")[2]  # Removes the password first, because it may contain any character.
        return f"PostgreSQL at {host.partition('/')[0].partition('?')[0] or 'localhost'}"

    @property
    def engine(self) -> AsyncEngine:
        """The engine, made at the first use."""
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    def take_url(self, settings: Settings) -> None:
        """Use the URL of these settings for new connections, because its password was changed. Raises `SettingsError`."""
        if self._sqlite is None:
            self._dsn = postgres_dsn(settings)

    async def prepare(self) -> None:
        """Bring an SQLite schema up to date. On PostgreSQL only check that the schema is up to date.

        Raises `SettingsError` if the schema is too old or the server refuses us. If the database is unavailable, this logs
        a warning, and the service starts.
        """
        if self.is_sqlite:
            await self.upgrade()
            return
        try:
            at, is_behind = await self.schema()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", detail=error.detail, fix="check that the server of DATABASE_URL runs")
            return
        if is_behind:
            raise SettingsError(
                f"DATABASE_URL: the tables are those of an older release (revision {at or 'none'}); run `stateroom db upgrade`"
            )

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision. If several processes do this at once, they take turns."""
        if self._sqlite is not None and self._sqlite.database:
            path = Path(self._sqlite.database)
            with folder_faults(self._setting, path):
                self._make_file(path)
                with await asyncio.to_thread(_locked, path.with_name(f".{path.name}.upgrade")):
                    await self._upgrade()
            return
        await self._upgrade()

    async def schema(self) -> tuple[str | None, bool]:
        """The schema's revision, and whether this release needs a newer one.

        Raises `DatabaseUnavailable`, and `SettingsError` if the server refuses us.
        """
        with refusals():
            at = await self.revision()
        return at, migrations.is_behind(at)

    async def revision(self) -> str | None:
        """The schema's revision; None if there is no schema yet."""
        async with self.connect() as connection:
            return await connection.run_sync(migrations.current)

    async def write(self, step: Step[T]) -> T:
        """Run a step in a transaction. After the commit, this returns the step's return value.

        `step`: an async function of a connection. On SQLite it runs in another thread, and shares its transaction with
        steps that came at the same time. Therefore it may only await its connection. If it raises, only its own writes are
        undone, and the error is raised here. It runs at most once. It must return values, not a result that is still open.
        Raises `DatabaseUnavailable`; the step may or may not be committed then.
        """
        with faults():
            if self._sqlite is None:
                async with self.begin() as connection:
                    return await step(connection)
            if self._writer is None:
                self._writer = Writer(self._path, begin_seconds=CONNECT_TIMEOUT_SECONDS, commit_seconds=STATEMENT_TIMEOUT_SECONDS)
            return await self._writer.write(step)

    async def read(self, step: Step[T]) -> T:
        """Run a step that only reads, and return its return value. `step`: as in `write`. Raises `DatabaseUnavailable`."""
        with faults():
            if self._sqlite is None:
                async with self.connect() as connection:
                    # Without BEGIN and ROLLBACK: each is a round trip, and each statement sees the last commits anyway.
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                    return await step(connection)
            if self._readers is None:
                self._readers = Readers(self._path, seconds=CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS)
            return await self._readers.read(step)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, which commits at the end of the block and rolls back after an exception."""
        async with self.connect() as connection, connection.begin():
            yield connection

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading."""
        with faults():
            async with contextlib.AsyncExitStack() as stack:
                connection = self.engine.connect()
                async with asyncio.timeout(self._connect_timeout):
                    await connection.start()
                stack.push_async_exit(connection)
                yield connection

    async def aclose(self) -> None:
        """Close all connections. This waits for statements that still run in SQLite's threads."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.aclose(CONNECT_TIMEOUT_SECONDS)
        if self._readers is not None:
            readers, self._readers = self._readers, None
            await readers.aclose(CONNECT_TIMEOUT_SECONDS)
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()
            # A statement still runs in its thread after its caller has stopped waiting. At its end the thread calls the
            # event loop, so the loop must still run.
            await asyncio.gather(*(asyncio.to_thread(each.join, CONNECT_TIMEOUT_SECONDS) for each in self._threads))

    @property
    def _path(self) -> Path:
        assert self._sqlite is not None
        return Path(str(self._sqlite.database))

    async def _upgrade(self) -> None:
        # A migration may take long, and it waits for another process that migrates now.
        engine = self._make_engine(statement_timeout_seconds=None, poolclass=NullPool)
        try:
            with refusals(), faults():
                async with engine.begin() as connection:
                    if self.is_sqlite:  # Python's driver does not begin a transaction for CREATE TABLE.
                        await connection.exec_driver_sql("BEGIN IMMEDIATE")
                    await connection.run_sync(migrations.upgrade)
        finally:
            await engine.dispose()

    def _make_file(self, path: Path) -> None:
        """Make the SQLite file. SQLite gives its journals the mode of the file: https://sqlite.org/tempfiles.html."""
        if self._setting == "STATE_DIR":
            own_folder(path.parent)
        else:  # The folder is not ours. Operators may let a group read the file, for backups.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            if each.exists():
                close_file(each, denied=0o007)

    def _connect_sqlite(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        # aiosqlite has a thread for each connection and does not say which one. But it makes the connection in that thread.
        self._threads.add(threading.current_thread())
        hide_this_thread()
        return sqlite3.Connection(*arguments, **options)

    def _make_engine(self, *, statement_timeout_seconds: float | None = STATEMENT_TIMEOUT_SECONDS, **options: Any) -> AsyncEngine:
        options = {"hide_parameters": True, **options}
        if "poolclass" not in options:
            options |= {"pool_size": POOL_SIZE, "max_overflow": POOL_OVERFLOW, "pool_timeout": self._connect_timeout}
        if self._sqlite is not None:
            connect_args = {"timeout": STATEMENT_TIMEOUT_SECONDS, "factory": self._connect_sqlite}
            engine = create_async_engine(self._sqlite, connect_args=connect_args, **options)
            event.listen(engine.sync_engine, "connect", _set_pragmas)
            return engine
        try:
            import asyncpg
        except ModuleNotFoundError as error:
            raise SettingsError(f"DATABASE_URL: {error.name} is not installed; pip install 'stateroom[postgres]'") from None

        async def connect() -> PostgresConnection[Any]:
            try:
                return await asyncpg.connect(self._dsn, timeout=self._connect_timeout, command_timeout=statement_timeout_seconds)
            except ValueError as error:  # asyncpg's ClientConfigurationError too
                fix = f"{RAW} {ENCODE_IT}" if has_raw_character(self._dsn) else EXAMPLE
                raise SettingsError(f"DATABASE_URL is not a URL that PostgreSQL understands; {fix}") from error

        if "poolclass" not in options:
            options |= {"pool_use_lifo": True}  # few connections are used often, and the others are idle
        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)
        event.listen(engine.sync_engine, "checkin", note_idle)
        event.listen(engine.sync_engine, "checkout", check_alive)
        return engine


def _set_pragmas(connection: Any, _: Any) -> None:
    set_pragmas(connection)


def _locked(path: Path) -> contextlib.AbstractContextManager[object]:
    file = open_private(path, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
