"""One writer commits for many: none of them harms another, and each hears what became of its own step."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.database import CONNECT_TIMEOUT_SECONDS, Database
from stateroom.errors import Conflict, DatabaseUnavailable
from stateroom.sqlite.direct import Step
from stateroom.sqlite.turns import Turns

from ..patience import at_most
from ..servers import Servers

ROWS = text("SELECT user_key FROM session_generations ORDER BY user_key")
INSERT = text("INSERT INTO session_generations (user_key, generation) VALUES (:key, 0)")


@pytest.fixture
async def database(servers: Servers, tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(servers.settings("fakeredis", database_url=f"sqlite:///{tmp_path}/users.db"))
    await made.upgrade()
    yield made
    await made.aclose()


@pytest.fixture
def path(database: Database) -> Path:
    return Path(database.place)


def adds(key: str, error: Exception | None = None) -> Step[str]:
    async def step(connection: AsyncConnection) -> str:
        await connection.execute(INSERT, {"key": key})
        if error is not None:
            raise error
        return key

    return step


async def keys(database: Database) -> list[str]:
    async def step(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(ROWS)).scalars())

    return await database.read(step)


@contextlib.contextmanager
def held(path: Path) -> Any:
    """Somebody else has SQLite's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


async def gathered(database: Database, path: Path, *steps: Step[Any]) -> list[Any]:
    """The outcomes of steps that are committed together."""
    await database.write(adds("warm"))
    with held(path):
        tasks = [asyncio.create_task(database.write(step)) for step in steps]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_step_that_fails_is_undone_alone(database: Database, path: Path) -> None:
    outcomes = await gathered(database, path, adds("a"), adds("b", Conflict("no")), adds("a"), adds("c"))
    assert [type(each) for each in outcomes] == [str, Conflict, IntegrityError, str]
    assert await keys(database) == ["a", "c", "warm"]


async def test_a_step_may_await_its_connection_only(database: Database, path: Path) -> None:
    async def sleeps(connection: AsyncConnection) -> None:
        await connection.execute(INSERT, {"key": "slept"})
        await asyncio.sleep(0)

    outcomes = await gathered(database, path, adds("a"), sleeps, adds("b"))
    assert [type(each) for each in outcomes] == [str, RuntimeError, str]
    assert await keys(database) == ["a", "b", "warm"]


async def test_a_cancelled_caller_neither_writes_nor_holds_its_neighbours_up(database: Database, path: Path) -> None:
    await database.write(adds("warm"))
    with held(path):
        tasks = [asyncio.create_task(database.write(adds(key))) for key in "abc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
    assert [await tasks[0], await tasks[2]] == ["a", "c"]
    assert await keys(database) == ["a", "c", "warm"]


async def test_a_step_that_could_not_begin_in_time_never_does(database: Database, path: Path) -> None:
    await database.write(adds("warm"))
    with held(path), at_most(CONNECT_TIMEOUT_SECONDS + 1):
        with pytest.raises(DatabaseUnavailable, match="other processes write"):
            await database.write(adds("late"))
        assert await keys(database) == ["warm"], "readers are not held up"
    assert await database.write(adds("next")) == "next"
    assert await keys(database) == ["next", "warm"]


async def test_a_full_disk_reaches_everybody_of_the_group_and_the_next_one_is_written(database: Database, path: Path) -> None:
    async def fills(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")
        for number in range(1000):
            await connection.execute(INSERT, {"key": f"{number}-{'x' * 4000}"})

    outcomes = await gathered(database, path, adds("a"), fills, adds("b"))
    assert [type(each) for each in outcomes] == [DatabaseUnavailable] * 3
    assert await keys(database) == ["warm"]
    assert await database.write(adds("next")) == "next"


async def test_a_file_that_was_replaced_or_removed_is_not_written_to(database: Database, path: Path, tmp_path: Path) -> None:
    await database.write(adds("old"))
    assert await keys(database) == ["old"]
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)
    for name in ("users.db-wal", "users.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    path.rename(tmp_path / "away.db")
    with pytest.raises(DatabaseUnavailable):
        await database.write(adds("nowhere"))
    with pytest.raises(DatabaseUnavailable):
        await keys(database)
    assert not path.exists(), "no file is invented"
    (tmp_path / "copy.db").rename(path)
    assert await database.write(adds("new")) == "new"
    assert await keys(database) == ["new", "old"]


async def test_processes_alternate_and_one_that_keeps_its_turn_holds_nobody_up_for_long(database: Database, path: Path) -> None:
    other = Turns(path)
    await database.write(adds("warm"))
    with other.one(), at_most(CONNECT_TIMEOUT_SECONDS):
        assert await database.write(adds("without a turn")) == "without a turn"
    assert await database.write(adds("with one")) == "with one"
    other.close()
