from __future__ import annotations

import asyncio
import builtins
import logging
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from stateroom import migrations
from stateroom.accounts.user import users
from stateroom.database import STATEMENT_TIMEOUT_SECONDS, Database, metadata
from stateroom.drills.postgres import Postgres
from stateroom.errors import DatabaseUnavailable, SettingsError
from stateroom.sessions.journal.tables import fleet, session_ends
from stateroom.settings import Settings

from .patience import at_most
from .servers import Servers

NEWEST = migrations.revisions()[-1]

Open = Callable[..., Database]


@pytest.fixture
async def opened(servers: Servers, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens databases. They are closed after the test."""
    made: list[Database] = []

    def opening(url: str | None, **values: Any) -> Database:
        made.append(Database(servers.settings("fakeredis", database_url=url, **{"state_dir": tmp_path / "state", **values})))
        return made[-1]

    yield opening
    for each in made:
        await each.aclose()


async def scalar(database: Database, statement: str) -> Any:
    async with database.connect() as connection:
        return (await connection.execute(text(statement))).scalar()


# On SQLite, SQLAlchemy cannot read an index of an expression. tests/accounts/test_mail_tokens.py shows that it is there.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index ix_mail_tokens_lower_email")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index 'ix_mail_tokens_lower_email'")
async def test_the_migrated_schema_is_what_the_code_declares(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []
    sessions, accounts = (
        {"session_ends", "session_generations", "fleet"},
        {"users", "user_groups", "mail_tokens", "mails", "mail_counts"},
    )
    assert {table.name for table in metadata.sorted_tables} == sessions | accounts


async def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    before = await database.revision()
    await _add(database, "kept")
    own = await scalar(database, "SELECT id FROM fleet WHERE singleton = 1")
    await database.upgrade()
    assert await database.revision() == before is not None
    assert await scalar(database, "SELECT count(*) FROM fleet WHERE id = 'kept'") == 1
    assert await scalar(database, "SELECT id FROM fleet WHERE singleton = 1") == own


async def test_processes_that_upgrade_at_once_take_turns(database_settings: Settings) -> None:
    databases = [Database(database_settings) for _ in range(4)]
    await asyncio.gather(*(each.upgrade() for each in databases))
    assert {await each.revision() for each in databases} == {NEWEST}
    for each in databases:
        await each.aclose()


async def test_an_upgrade_that_fails_leaves_the_schema_as_it_was(
    database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_half_way(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE users (id INTEGER)"))
        connection.execute(text("SELECT nothing FROM nowhere"))

    database = Database(database_settings)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "upgrade", fail_half_way)
        with pytest.raises(DatabaseUnavailable):
            await database.upgrade()
    await database.upgrade()
    assert await database.revision() == NEWEST
    await database.aclose()


async def test_the_revisions_are_those_that_alembic_finds(database: Database) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert migrations.revisions() == [each.revision for each in reversed(list(scripts.walk_revisions()))]
    assert await database.revision() == scripts.get_current_head()


async def test_a_schema_of_a_later_release_is_good_enough(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.prepare()
    await database.upgrade()
    assert await database.revision() == "9999"


async def test_sequence_numbers_are_never_given_twice(database: Database) -> None:
    row = {"user_key": "1", "handle": "h", "reason": "logout", "ended_at": 1, "expires_at": 2}
    seen = []
    for _ in range(2):
        async with database.begin() as connection:
            seen.append((await connection.execute(insert(session_ends).values(row).returning(session_ends.c.seq))).scalar_one())
            await connection.execute(session_ends.delete())
    assert seen == [1, 2]


async def test_what_fails_is_rolled_back_and_a_broken_constraint_says_so(database: Database) -> None:
    await _add(database, "a")
    with pytest.raises(IntegrityError):
        await _add(database, "b", "a")
    async with database.connect() as connection:
        assert (await connection.execute(select(fleet.c.id).where(fleet.c.singleton.is_(None)))).scalars().all() == ["a"]


async def test_a_fault_of_the_system_is_unavailable_and_tells_nothing(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await scalar(database, "SELECT secret FROM nowhere")
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    assert "secret" not in caught.value.detail
    assert "nowhere" not in caught.value.detail


async def test_a_cancelled_query_gives_its_connection_back(database: Database) -> None:
    slow = "SELECT pg_sleep(30)"
    if database.is_sqlite:
        slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT max(x) FROM n"
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await scalar(database, slow)
    assert await scalar(database, "SELECT 1") == 1
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


# SQLite


async def test_the_sqlite_file_and_its_folder_are_ours_alone(opened: Open, tmp_path: Path) -> None:
    database = opened(None)
    await database.prepare()
    async with database.begin() as connection:
        await connection.execute(insert(fleet).values(id="a"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").glob("stateroom.db*")}
    assert modes == {"stateroom.db": 0o600, "stateroom.db-wal": 0o600, "stateroom.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_sqlite_writes_ahead_waits_for_locks_and_checks_references(opened: Open) -> None:
    database = opened(None)
    await database.prepare()
    pragmas = {name: await scalar(database, f"PRAGMA {name}") for name in ("journal_mode", "busy_timeout", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 2000, "foreign_keys": 1}


async def test_a_locked_sqlite_file_is_waited_for_only_so_long(opened: Open) -> None:
    database, other = opened(None), opened(None)
    await database.prepare()
    async with other.begin() as holding:
        await holding.execute(insert(fleet).values(id="held"))
        await _takes(STATEMENT_TIMEOUT_SECONDS, _add(database, "late"))
        assert await scalar(database, "SELECT count(*) FROM fleet WHERE id = 'held'") == 0, "readers are not held up"


async def test_no_statement_outlives_a_database_that_is_closed(opened: Open) -> None:
    before = set(threading.enumerate())
    database = opened(None)
    await database.prepare()
    counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"
    async with database.connect() as connection:  # It has one connection, in its own thread.
        await connection.execute(text("SELECT 1"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await scalar(database, counting)
    await database.aclose()
    assert [each.name for each in set(threading.enumerate()) - before if "asyncio" not in each.name] == []


async def test_a_server_that_hangs_up_on_who_connects_is_unavailable(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs_up(*_: object, **__: object) -> None:
        raise EOFError("unexpected end of the stream")

    monkeypatch.setattr("asyncpg.connect", hangs_up)
    with pytest.raises(DatabaseUnavailable, match="EOFError"):
        await scalar(opened("postgresql://127.0.0.1/stateroom"), "SELECT 1")


async def test_a_path_may_be_named(opened: Open, tmp_path: Path) -> None:
    await opened(f"sqlite:///{tmp_path}/deep/er/users.db").prepare()
    assert (tmp_path / "deep/er/users.db").exists()


async def test_a_file_that_is_no_database_is_unavailable(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "users.db").write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(DatabaseUnavailable):
        await opened(f"sqlite:///{tmp_path}/users.db").prepare()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://user:hush@host/db", "begins with mysql://; use postgresql://"),
        ("nonsense hush", "is not a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_cannot_work_stops_the_start(opened: Open, url: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        opened(url)
    assert caught.value.detail.startswith("DATABASE_URL ")
    assert words in caught.value.detail
    assert "hush" not in caught.value.detail


@pytest.mark.parametrize("password", ["hu/sh", "hu?sh", "hu#sh", "hu[sh", "hu]sh", "12/hush", "12#hush"])
async def test_a_raw_special_character_gets_the_hint_to_encode_it(opened: Open, password: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL.* percent-encode each special character") as caught:
        await opened(f"postgresql://user:{password}@host/db").prepare()
    assert password not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@127.0.0.1:1,127.0.0.1:2/db?passfile=/a@b",
        "postgresql:///db?host=/run/at@socket",
        "postgresql://user:p%40ss%2F@127.0.0.1:1/d@b",
    ],
)
def test_an_at_sign_elsewhere_in_the_url_is_accepted(opened: Open, url: str) -> None:
    opened(url)


async def test_a_folder_that_cannot_be_made_is_named_with_its_setting(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^STATE_DIR: .*cannot be written"):
        await opened(None, state_dir=tmp_path / "file" / "state").prepare()
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: .*cannot be written"):
        await opened(f"sqlite:///{tmp_path}/file/users.db").prepare()


async def test_a_missing_driver_is_named_with_the_mend(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_driver(name: str, *rest: Any) -> Any:
        if name == "asyncpg":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_driver)
    with pytest.raises(SettingsError, match=r"DATABASE_URL: asyncpg is not installed; pip install 'stateroom\[postgres\]'"):
        await opened("postgresql://host/db").prepare()


# PostgreSQL


async def test_a_schema_that_is_behind_names_the_command(opened: Open, postgres: Postgres) -> None:
    database = opened(postgres.make_database())
    with pytest.raises(SettingsError, match="stateroom db upgrade"):
        await database.prepare()
    await database.upgrade()
    await database.prepare()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_the_usual_schemes_and_parameters_are_understood(opened: Open, postgres: Postgres, scheme: str) -> None:
    url = postgres.url("postgres", scheme=scheme) + "?sslmode=disable&application_name=ours"
    assert await scalar(opened(url), "SELECT current_setting('application_name')") == "ours"


async def test_of_several_hosts_the_first_that_answers_is_taken(opened: Open, postgres: Postgres) -> None:
    url = postgres.url("postgres").replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
    assert await scalar(opened(url), "SELECT 1") == 1


async def test_what_the_server_refuses_for_good_stops_the_start(opened: Open, postgres: Postgres) -> None:
    refused = {
        postgres.url("postgres", password="hush"): "refuses this user or password",
        postgres.url("nowhere"): "no such database",
        postgres.url("postgres") + "?bogus=1": "does not know a parameter",
        postgres.url("postgres") + "?sslmode=hush": "not a URL that PostgreSQL understands",
        "postgresql://127.0.0.1:port/x": "not a URL that PostgreSQL understands",
    }
    for url, words in refused.items():
        with pytest.raises(SettingsError, match=words) as caught:
            await opened(url).prepare()
        assert "hush" not in str(caught.value)


async def test_a_user_who_may_not_change_the_schema_is_told_what_to_grant(opened: Open, postgres: Postgres) -> None:
    url = postgres.make_database()
    async with opened(url).begin() as connection:
        await connection.execute(text("CREATE ROLE guest LOGIN PASSWORD 'guest'"))
    with pytest.raises(SettingsError, match="grant it USAGE and"):
        await opened(url.replace(url[url.index("//") + 2 : url.index("@")], "guest:guest")).upgrade()


async def test_a_server_that_is_away_is_no_reason_not_to_start(opened: Open) -> None:
    database = opened("postgresql://user@127.0.0.1:1/x")
    await database.prepare()
    with pytest.raises(DatabaseUnavailable):
        await scalar(database, "SELECT 1")


async def test_the_first_query_after_a_restart_of_the_server_is_answered(opened: Open, postgres: Postgres) -> None:
    database = opened(postgres.make_database())
    assert await scalar(database, "SELECT 1") == 1
    postgres.stop()
    with pytest.raises(DatabaseUnavailable):
        await scalar(database, "SELECT 1")
    postgres.start()
    assert await scalar(database, "SELECT 1") == 1
    # In a thread, because an event loop that runs notices at once that the server closes its connections.
    await asyncio.to_thread(postgres.stop)
    postgres.start()
    assert await scalar(database, "SELECT 1") == 1


async def test_a_statement_is_given_up_after_its_time(opened: Open, postgres: Postgres) -> None:
    database = opened(postgres.make_database())
    await _takes(STATEMENT_TIMEOUT_SECONDS, scalar(database, "SELECT pg_sleep(30)"))
    assert await scalar(database, "SELECT 1") == 1


async def test_a_server_that_hangs_holds_nobody_up_for_long(opened: Open, postgres: Postgres) -> None:
    database = opened(postgres.make_database())
    postgres.pause()
    try:
        asking = [asyncio.create_task(scalar(database, "SELECT 1")) for _ in range(30)]
        await _takes(STATEMENT_TIMEOUT_SECONDS, asyncio.gather(*asking))
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailable}
    finally:
        postgres.resume()
    assert await scalar(database, "SELECT 1") == 1
    assert database.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_an_upgrade_waits_for_another_longer_than_a_statement_may_take(opened: Open, postgres: Postgres) -> None:
    url = postgres.make_database()
    database, other = opened(url), opened(url)
    async with other.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrations.UPGRADE_LOCK})
        upgrading = asyncio.create_task(database.upgrade())
        done, _ = await asyncio.wait([upgrading], timeout=STATEMENT_TIMEOUT_SECONDS * 1.2)
        assert not done
    await upgrading
    assert await database.revision() == NEWEST


async def test_no_parameter_of_a_query_is_logged(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    row = {"id": 7, "email": "hush@example.com", "name": "a", "password_hash": "hush", "created_at": 1}
    async with database.begin() as connection:
        await connection.execute(insert(users).values(row))
    with pytest.raises(IntegrityError) as caught:
        async with database.begin() as connection:
            await connection.execute(insert(users).values(row))
    assert "[SQL parameters hidden" in str(caught.value)
    assert "hush" not in caplog.text


async def _add(database: Database, *ids: str) -> None:
    async with database.begin() as connection:
        for each in ids:
            await connection.execute(insert(fleet).values(id=each))


async def _takes(seconds: float, work: Awaitable[Any]) -> None:
    """It raises `DatabaseUnavailable` after about this time."""
    began = time.monotonic()
    with at_most(seconds + 1), pytest.raises(DatabaseUnavailable):
        await work
    assert time.monotonic() - began > seconds * 0.9
