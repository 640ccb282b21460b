"""Servers and user databases for hosts that are processes of their own."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stateroom.drills import topology

from ..servers import Servers
from .hosts import Store
from .user_databases import PostgresDatabase, SqliteFile, UserDatabase

MakeDatabase = Callable[[], UserDatabase]
MakeStore = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> MakeDatabase:
    """Makes empty user databases, of each kind."""
    if request.param == "sqlite":
        numbers = itertools.count(1)
        return lambda: SqliteFile(tmp_path / f"database-{next(numbers)}")
    server = request.getfixturevalue("postgres")
    return lambda: PostgresDatabase(server)


@pytest.fixture
def make_store(servers: Servers, tmp_path: Path) -> Iterator[MakeStore]:
    """Starts Redis servers that the test may flush and stop. They keep what they have on disk."""
    stack = contextlib.AsyncExitStack()
    numbers = itertools.count(1)

    def make() -> Store:
        server = topology.single(tmp_path / f"redis-{next(numbers)}", options={"appendonly": "yes"})
        return Store(servers, servers.thread.run(stack.enter_async_context(server)))

    yield make
    servers.thread.run(stack.aclose())
