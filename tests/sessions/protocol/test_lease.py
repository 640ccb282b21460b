"""One lease and one name for the whole deployment: a worker with another lease undoes logouts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.store.redis_clock import RedisClock

LONGEST_MS = 3_600_000


async def test_a_worker_that_started_without_the_journal_never_uses_another_lease(database: Database) -> None:
    journal = Journal(database, LONGEST_MS)
    await journal.agree(lease_ms=500, name="")
    tail = Tail(journal, RedisClock(), Deployment(), lease_ms=1000)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="another lease"):
            await tail.catch_up()
        assert tail.is_away
    await journal.set_lease(1000)
    await tail.catch_up()
    assert not tail.is_away


async def test_a_worker_that_started_without_the_journal_never_uses_another_name(database: Database) -> None:
    journal = Journal(database, LONGEST_MS)
    await journal.agree(lease_ms=500, name="production")
    tail = Tail(journal, RedisClock(), Deployment("staging"), lease_ms=500)
    with pytest.raises(DatabaseUnavailable, match="another name"):
        await tail.catch_up()


@pytest.mark.parametrize(
    ("change", "event"),
    [
        (lambda journal: journal.set_lease(1000), "lease_differs"),
        (lambda journal: journal.set_identity("one", "production"), "deployment_differs"),
    ],
    ids=["lease", "name"],
)
async def test_a_worker_that_still_runs_notices_a_change(
    database: Database, caplog: pytest.LogCaptureFixture, change: Callable[[Journal], Awaitable[None]], event: str
) -> None:
    journal = Journal(database, 1000)
    await journal.agree(lease_ms=500, name="")
    await journal.set_identity("one", "")
    tail = Tail(journal, RedisClock(), Deployment(), lease_ms=500)
    await tail.catch_up()
    await change(journal)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable, match="another"):
            await tail.catch_up()
    assert tail.is_away
    assert sum(record.getMessage().startswith(event) for record in caplog.records) == 1
