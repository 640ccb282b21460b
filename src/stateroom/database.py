"""The user database: one engine, its faults, its schema.

SQLite (one file under `STATE_DIR`) where nothing else is set, PostgreSQL in production. Every fault of the system
leaves here as `DatabaseUnavailable`; a broken constraint as SQLAlchemy's `IntegrityError`. Tables are declared where
they are used, on `metadata`; `migrations/` brings a database to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from .errors import DatabaseUnavailable, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .settings import Settings

POOL_SIZE = 5
POOL_OVERFLOW = 5
CONNECT_TIMEOUT_SECONDS = 2.0
STATEMENT_TIMEOUT_SECONDS = 2.0

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Database:
    """Owns the engine of one process. Raises `SettingsError` for a `DATABASE_URL` that can't work."""

    def __init__(self, settings: Settings) -> None:
        self._url = _url(settings)
        self._folder = settings.state_dir
        self._engine: AsyncEngine | None = None

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    async def prepare(self) -> None:
        """Make the schema current on SQLite; elsewhere see that it is.

        Raises `SettingsError` that names `stateroom db upgrade`. A database that is away is no reason not to start.
        """
        if self.is_sqlite:
            await self.upgrade()
            return
        try:
            at, wanted = await self.revision(), await asyncio.to_thread(_newest_revision)
        except DatabaseUnavailable:
            return
        if at != wanted:
            raise SettingsError(f"DATABASE_URL: the schema is at {at or 'nothing'}, not {wanted}; run `stateroom db upgrade`")

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision. Processes that do it at once take turns."""
        if self.is_sqlite and self._url.database:
            path = Path(self._url.database)
            with _folder_faults(path):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                with await asyncio.to_thread(_locked, path.with_name(f".{path.name}.upgrade")):
                    await self._upgrade()
            return
        await self._upgrade()

    async def revision(self) -> str | None:
        """The schema's revision; None where there is none yet."""
        async with self.connect() as connection:
            return await connection.run_sync(_revision)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that commits at the end."""
        with _faults():
            async with self.engine.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with."""
        with _faults():
            async with self.engine.connect() as connection:
                yield connection

    async def aclose(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    async def _upgrade(self) -> None:
        from .migrations import upgrade  # takes a quarter of a second to import, and few processes need it

        async with self.begin() as connection:
            await connection.run_sync(upgrade)

    def _make_engine(self) -> AsyncEngine:
        options: dict[str, Any] = {"hide_parameters": True}
        if not self.is_sqlite:
            options |= {
                "pool_size": POOL_SIZE,
                "max_overflow": POOL_OVERFLOW,
                "pool_timeout": CONNECT_TIMEOUT_SECONDS,
                "pool_pre_ping": False,
                "connect_args": {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": STATEMENT_TIMEOUT_SECONDS},
            }
        else:
            options["connect_args"] = {"timeout": STATEMENT_TIMEOUT_SECONDS}
        try:
            engine = create_async_engine(self._url, **options)
        except ModuleNotFoundError as error:
            raise SettingsError(f"DATABASE_URL: {error.name} is not installed; pip install 'stateroom[postgres]'") from None
        if self.is_sqlite:
            event.listen(engine.sync_engine, "connect", _set_pragmas)
        return engine


def _url(settings: Settings) -> URL:
    if settings.database_url is None:
        return URL.create("sqlite+aiosqlite", database=str(settings.state_dir / "stateroom.db"))
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError:
        raise SettingsError("DATABASE_URL is not a URL; for example postgresql://user:password@host/stateroom") from None
    match url.drivername:
        case "postgresql" | "postgres" | "postgresql+asyncpg":
            return url.set(drivername="postgresql+asyncpg")
        case "sqlite" | "sqlite+aiosqlite":
            if not url.database or url.database == ":memory:":
                raise SettingsError("DATABASE_URL names no file; for example sqlite:///var/stateroom.db")
            return url.set(drivername="sqlite+aiosqlite")
    raise SettingsError(
        f"DATABASE_URL begins with {url.drivername}://; use postgresql://, sqlite:///, or none for library use without a database"
    )


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, SQLAlchemyError, OSError, TimeoutError) as error:
        raise DatabaseUnavailable(f"the user database does not answer: {type(error).__name__}") from error


@contextlib.contextmanager
def _folder_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"STATE_DIR: {path} cannot be written: {error.strerror}; name a folder that can") from None


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _locked(path: Path) -> contextlib.AbstractContextManager[object]:
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _revision(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _newest_revision() -> str:
    from .migrations import newest_revision

    return newest_revision()
