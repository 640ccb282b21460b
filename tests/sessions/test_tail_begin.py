"""The tail on a real journal: what is under way when it begins."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import insert

from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions import covering as covering_module
from stateroom.sessions.covering import Covering
from stateroom.sessions.journal import EndRow, Journal, session_ends
from stateroom.sessions.tail import Tail

from ..postgres import Postgres
from ..servers import Servers


def values(handle: str) -> dict[str, object]:
    return {"user_key": "i1", "handle": handle, "reason": "logout", "ended_at": 0, "expires_at": 2**50}


@pytest.mark.parametrize("rows_before", [0, 1])
async def test_an_end_under_way_when_the_tail_begins_is_read_when_it_commits(
    postgres: Postgres, servers: Servers, rows_before: int
) -> None:
    """Numbers are given before the commit: a worker that starts may see a later row first, and nothing before it."""
    database = Database(servers.settings("fakeredis", database_url=postgres.make_database()))
    await database.upgrade()
    journal, tail = Journal(database), Tail(Journal(database))
    for number in range(rows_before):
        await journal.record([EndRow("i9", f"before-{number}", "logout", 0, 2**50)])
    async with database.begin() as slow:
        await slow.execute(insert(session_ends).values(values("slow")))
        await journal.record([EndRow("i1", "quick", "logout", 0, 2**50)])
        await tail.catch_up()
        assert "quick" in tail.ended
        assert "slow" not in tail.ended
    await tail.catch_up()
    assert "slow" in tail.ended
    await tail.aclose()
    await database.aclose()


async def test_a_question_that_hangs_is_given_up_and_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering_module, "PATIENCE_SECONDS", 0.05)

    gate = asyncio.Event()
    journal = Journal(database)
    real = journal.covering

    async def held(sessions: object) -> object:
        await gate.wait()
        return await real(sessions)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "covering", held)
    covering = Covering(journal, lambda: False)
    with pytest.raises(DatabaseUnavailable, match="too long"):
        await covering.ask("i1", "a", 0)
    gate.set()
    assert await covering.ask("i1", "b", 0) is None
    await covering.aclose()
