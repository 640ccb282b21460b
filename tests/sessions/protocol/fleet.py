"""Workers on one store and one database, whose steps a test takes one by one: on real servers, or on fakes of them."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, Protocol, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import DatabaseUnavailable, Unavailable
from stateroom.sessions.journal.interface import EndsJournal
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow
from stateroom.sessions.model.session import Session
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.wiring import wire
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from .. import fake_redis
from ..fake_journal import FakeJournal, Table

PERSISTENT = {"appendonly": "yes", "appendfsync": "always"}
PREFIX = "test"
KEY = new_key()
NEVER = 2**50
AT_ONCE_SECONDS = LEASE_SECONDS / 2


class Line(Protocol):
    """One worker's way to the journal's database; it can be cut."""

    is_cut: bool


class DatabaseLine:
    """A `Line` to a real database: what `Journal` asks of `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_cut = False

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        self._check()
        async with self._database.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        self._check()
        async with self._database.begin() as connection:
            yield connection

    def _check(self) -> None:
        if self.is_cut:
            raise DatabaseUnavailable("cut, for a test")


class Worker:
    """A worker without loops of its own: a test takes each step."""

    def __init__(self, made: Settings, client: RedisClient, journal: EndsJournal, line: Line, metrics: Metrics) -> None:
        self.metrics = metrics
        self.client = client
        self.line = line
        self.parts = wire(made, metrics, client, journal)
        self.manager = SessionManager(self.parts)
        self.store, self.tail, self.replay, self.ends = self.parts.store, self.parts.tail, self.parts.replay, self.parts.ends

    async def settle(self) -> None:
        """Until this worker counts its store as settled."""

        async def is_settled() -> bool:
            with contextlib.suppress(Unavailable):
                await self.tail.catch_up()
                await self.replay.turn()
            return self.manager.store_state() == "settled"

        await until(is_settled, "the store is settled")

    def unsettle(self) -> None:
        """As after a new connection, before the journal was replayed over it."""
        for progress in self.replay._progress.values():
            progress.covered = None
        assert self.manager.store_state() == "unsettled"

    async def sign_in(self, user: str = "ada", **data: Any) -> tuple[Session, str]:
        """A new session, and its sealed value."""
        session = await self.manager.create(user, data=data)
        return session, self.manager.seal(session)

    async def copies(self) -> list[bytes]:
        """The keys of all sessions, pending and unclaimed ones too."""
        found: list[bytes] = await self.client.execute("", "KEYS", f"{PREFIX}:*:s:*")
        return found

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"stateroom_{name}")
        assert value is not None
        return value


class AnyFleet(abc.ABC):
    """Workers on one store and one database. `journal`: a way to the database that no test cuts."""

    def __init__(self, journal: EndsJournal, stack: contextlib.AsyncExitStack) -> None:
        self.journal = journal
        self._stack = stack

    @abc.abstractmethod
    def _make(self, made: Settings, metrics: Metrics) -> Worker: ...

    @abc.abstractmethod
    async def call(self, *command: Any) -> Any:
        """One command on the server itself."""

    async def join(self, **values: Any) -> Worker:
        """One more worker, settled."""
        own = {"redis_key_prefix": PREFIX, "cookie_keys": KEY, "database_url": "sqlite:///not-opened.db"}
        worker = self._make(settings(**(own | self._where() | values)), Metrics())
        self._stack.push_async_callback(worker.client.aclose)
        await worker.client.start()
        self._stack.push_async_callback(worker.tail.aclose)
        self._stack.push_async_callback(worker.parts.lookup.aclose)
        await worker.settle()
        return worker

    def _where(self) -> dict[str, Any]:
        """Settings that lead to the store."""
        return {}

    async def end_by_row(self, at: SessionRef, reason: str = "logout") -> None:
        """Commit an end, as another worker does."""
        await self.journal.record([EndRow(at.user, at.handle, reason, 0)])

    async def reason(self, at: SessionRef) -> str | None:
        return await self.journal.reason(at, 2**40)


class Fleet(AnyFleet):
    """On a real server and a real database."""

    def __init__(self, node: Node, database: Database, stack: contextlib.AsyncExitStack) -> None:
        super().__init__(Journal(database, NEVER), stack)
        self.node = node
        self._database = database

    async def call(self, *command: Any) -> Any:
        return await self.node.call(*command)

    def _where(self) -> dict[str, Any]:
        return {"redis_host": self.node.host, "redis_port": self.node.port}

    def _make(self, made: Settings, metrics: Metrics) -> Worker:
        line = DatabaseLine(self._database)
        return Worker(made, make_client(made, metrics=metrics), Journal(cast("Database", line), NEVER), line, metrics)


class FakeFleet(AnyFleet):
    """On fakes, for tests that are marked `virtual_time`."""

    def __init__(self, node: fake_redis.Node, stack: contextlib.AsyncExitStack) -> None:
        self.table = Table()
        super().__init__(FakeJournal(self.table), stack)
        self._node = node

    async def call(self, *command: Any) -> Any:
        return await self._node.call(*command)

    def _make(self, made: Settings, metrics: Metrics) -> Worker:
        client, journal = fake_redis.FakeClient(self._node), FakeJournal(self.table)
        client.connect()
        return Worker(made, client, journal, journal, metrics)


@contextlib.asynccontextmanager
async def fleet_on(folder: Path, database: Database) -> AsyncIterator[Fleet]:
    async with (
        topology.single(folder / "store", options=PERSISTENT) as node,
        contextlib.AsyncExitStack() as stack,
    ):
        yield Fleet(node, database, stack)


@contextlib.asynccontextmanager
async def fake_fleet() -> AsyncIterator[FakeFleet]:
    node = fake_redis.Node(0)
    await node.begin(PREFIX)
    async with contextlib.aclosing(node.client), contextlib.AsyncExitStack() as stack:
        yield FakeFleet(node, stack)


def is_trusted(session: Session) -> bool:
    """Whether a handler would let this user in."""
    try:
        return session.is_signed_in
    except Unavailable:
        return False


async def took(step: Awaitable[object]) -> float:
    """Seconds of the loop's clock."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await step
    return loop.time() - began
