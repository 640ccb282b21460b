"""A million ends in the journal: a start, the tail, a question and an apply turn are as quick and small as ever."""

from __future__ import annotations

import gc
import secrets
import sqlite3
import time
import tracemalloc
from pathlib import Path

import pytest

from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.deployment import Current
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.wiring import wire
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ...servers import Servers

ROWS = 1_000_000
LONGEST_SECONDS = 1.0
MOST_BYTES = 50 * 1024 * 1024
_COLUMNS = "user_key, handle, reason, ended_at, expires_at"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_million_rows_cost_neither_time_nor_memory(
    kind: str, request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db" if kind == "sqlite" else request.getfixturevalue("postgres").make_database()
    settings = servers.settings("valkey", database_url=url, redis_key_prefix=f"test-{secrets.token_hex(4)}")
    database = Database(settings)
    await database.upgrade()
    until = int(time.time() * 1000) + 86_400_000
    if kind == "sqlite":
        await _fill_sqlite(tmp_path / "journal.db", until)
    else:
        await _fill_postgres(database, until)
    await _measure(settings, database)
    await database.aclose()


async def _measure(settings: Settings, database: Database) -> None:
    journal = Journal(database, 86_400_000)
    metrics = Metrics()
    client = make_client(settings, metrics=metrics)
    await client.start()
    await journal.current("i1")  # connected, statements compiled
    gc.collect()
    tracemalloc.start()
    stores = wire(settings, metrics, client, journal)
    manager = SessionManager(stores)
    took = {}

    async def step(name: str, work: object) -> None:
        began = time.perf_counter()
        await work  # type: ignore[misc]
        took[name] = time.perf_counter() - began

    await step("start", stores.tail.catch_up())
    await step("tail", stores.tail.catch_up())
    await step("first turn", stores.replay.turn())
    stores.replay.sweeps = True
    await manager.revoke_all("ada")
    await stores.tail.catch_up()
    await step("turn", stores.replay.turn())
    await step("ended", stores.trust.why_ended_by_journal(SessionRef("i5", "handle-0000000000000005"), Current(0, "")))
    await step("question", stores.trust.why_ended_by_journal(SessionRef("i5", "none"), Current(0, "")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{took}, {peak / 2**20:.1f} MB")
    assert max(took.values()) < LONGEST_SECONDS
    assert peak < MOST_BYTES
    assert await client.execute("", "GET", stores.key_names.cursor("")) == str(ROWS + 1).encode()
    await stores.lookup.aclose()
    await stores.tail.aclose()
    await client.aclose()


async def _fill_sqlite(path: Path, until: int) -> None:
    connection = sqlite3.connect(path)
    rows = ((f"i{number}", f"handle-{number:016}", "logout", 0, until) for number in range(ROWS))
    connection.executemany(f"INSERT INTO session_ends ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


async def _fill_postgres(database: Database, until: int) -> None:
    filling = (
        f"INSERT INTO session_ends ({_COLUMNS}) SELECT 'i' || n, 'handle-' || lpad(n::text, 16, '0'), 'logout', 0, {until} "
        f"FROM generate_series(0, {ROWS - 1}) AS n"
    )
    engine = database._make_engine(statement_timeout_seconds=None)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(filling)
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql("ANALYZE session_ends")
    await engine.dispose()
