"""Findings about a user database that is unavailable, refuses us, has an old schema, is read only or is another fleet's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stateroom.database import Database
from stateroom.doctor.database import DatabaseFindings, _failover, judge_fleet, look_at_database
from stateroom.doctor.findings import Finding, Level
from stateroom.drills.postgres import Postgres
from stateroom.sessions.journal.sql import Journal
from stateroom.settings import Settings

from ..servers import Servers


@pytest.fixture
def make(servers: Servers) -> Any:
    return lambda url, **changed: servers.settings("fakeredis", database_url=url, **changed)


async def upgraded(settings: Settings) -> None:
    database = Database(settings)
    await database.upgrade()
    await database.aclose()


async def only(settings: Settings, check: str) -> Finding:
    findings = [finding for finding in (await look_at_database(settings)).findings if finding.level is not Level.OK]
    assert [finding.check for finding in findings] == [check]
    assert findings[0].fix
    return findings[0]


async def test_a_schema_that_is_behind_is_found(make: Any, postgres: Postgres) -> None:
    settings = make(postgres.make_database())
    finding = await only(settings, "schema")
    assert finding.level is Level.FAULT
    assert "run `stateroom db upgrade`" in finding.fix
    await upgraded(settings)
    looked = await look_at_database(settings)
    assert "is current" in looked.findings[0].what
    assert f"PostgreSQL at 127.0.0.1:{postgres.port}" in looked.findings[0].what
    assert looked.is_known
    assert looked.fleet_id


@pytest.mark.parametrize(
    ("changed", "check", "fix"),
    [({"deployment": "staging"}, "deployment-name", "--new-identity"), ({"journal_lease": 1.0}, "lease", "JOURNAL_LEASE to 0.5")],
)
async def test_what_the_deployment_has_agreed_on_is_compared(
    make: Any, tmp_path: Path, changed: dict[str, Any], check: str, fix: str
) -> None:
    url = f"sqlite:///{tmp_path}/users.db"
    first = make(url)
    await upgraded(first)
    database = Database(first)
    await Journal(database, first.longest_session_ms).agree(lease_ms=500, name="")
    await database.aclose()
    finding = await only(make(url, **changed), check)
    assert finding.level is Level.FAULT
    assert fix in finding.fix


async def test_what_makes_a_commit_less_than_durable_is_found(make: Any, postgres: Postgres) -> None:
    """The tests' servers run without durability."""
    settings = make(postgres.make_database())
    await upgraded(settings)
    finding = await only(settings, "database-durability")
    assert finding.level is Level.WARNING
    assert finding.what.startswith("synchronous_commit, fsync and full_page_writes are off")


@pytest.mark.parametrize(("standbys", "synchronous", "is_found"), [(0, "", False), (1, "", True), (2, "ANY 1 (*)", False)])
def test_standbys_that_may_lack_the_last_commits_are_found(standbys: int, synchronous: str, *, is_found: bool) -> None:
    findings = list(_failover({"standbys": standbys, "synchronous": synchronous}))
    assert [finding.check for finding in findings] == ["database-asynchronous"] * is_found


async def test_rights_that_its_user_lacks_are_found(make: Any, postgres: Postgres) -> None:
    settings = make(postgres.make_database())
    await upgraded(settings)
    database = Database(settings)
    async with database.begin() as connection:
        await connection.execute(text("DROP ROLE IF EXISTS narrow"))
        await connection.execute(text("CREATE ROLE narrow LOGIN PASSWORD 'narrow'"))
        await connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO narrow"))
        others = "users, fleet, session_generations, user_groups, mail_tokens, mails, mail_counts"
        await connection.execute(text(f"GRANT INSERT, UPDATE, DELETE ON {others} TO narrow"))
    await database.aclose()
    url = settings.database_url
    assert url is not None
    name = url.get_secret_value().rsplit("/", 1)[1]
    narrow = make(f"postgresql://narrow:narrow@127.0.0.1:{postgres.port}/{name}")
    findings = {finding.check: finding for finding in (await look_at_database(narrow)).findings}
    assert findings["database-rights"].what == (
        "the user in DATABASE_URL lacks INSERT on session_ends, UPDATE on session_ends, DELETE on session_ends"
    )


async def test_a_database_that_is_away_or_hangs_is_found_soon(make: Any, own_postgres: Postgres) -> None:
    settings = make(own_postgres.make_database())
    own_postgres.pause()
    try:
        async with asyncio.timeout(5):
            hung = await only(settings, "database-away")
    finally:
        own_postgres.resume()
    own_postgres.stop()
    gone = await only(settings, "database-away")
    for finding in (hung, gone):
        assert "a password of the tests".replace(" ", "%20") not in finding.what
        assert f"127.0.0.1:{own_postgres.port}" in finding.what


async def test_a_refusal_is_told_with_its_fix(make: Any, postgres: Postgres) -> None:
    finding = await only(make(postgres.url("postgres", password="wrong")), "database-refuses")
    assert "refuses this user or password" in finding.what
    assert finding.fix == "correct the user and the password"
    await only(make(postgres.url("no-such-database")), "database-refuses")


async def test_no_database_is_no_journal(make: Any) -> None:
    assert (await only(make("none"), "no-journal")).level is Level.WARNING


async def test_an_sqlite_file_that_is_missing_is_not_made(make: Any, tmp_path: Path) -> None:
    looked = await look_at_database(make(f"sqlite:///{tmp_path}/none.db"))
    assert "does not exist yet" in looked.findings[0].what
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_no_database_is_a_line(make: Any, tmp_path: Path) -> None:
    (tmp_path / "odd.db").write_text("this is no SQLite file, but it is long enough to be looked at as one " * 50)
    await only(make(f"sqlite:///{tmp_path}/odd.db"), "database-away")


@pytest.mark.parametrize(
    ("own", "held", "level"),
    [("a", b"a", Level.OK), ("a", None, Level.OK), (None, None, Level.OK), ("a", b"b", Level.FAULT), (None, b"b", Level.FAULT)],
)
def test_a_fleet_is_foreign_where_the_ids_differ(own: str | None, held: bytes | None, level: Level) -> None:
    [finding] = judge_fleet(DatabaseFindings([], own, is_known=True), {"Primary 10.0.0.1:6379": held})
    assert finding.level is level


def test_nothing_is_said_of_a_fleet_whose_database_could_not_be_asked() -> None:
    assert judge_fleet(DatabaseFindings([], None, is_known=False), {"Primary 10.0.0.1:6379": b"b"}) == []
