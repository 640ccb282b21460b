"""One lease for the whole deployment: a worker with another one undoes logouts."""

from __future__ import annotations

import pytest

from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable, SettingsError
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.protocol.lease import Lease, check_lease
from stateroom.sessions.store.redis_clock import RedisClock


async def test_the_first_worker_sets_the_lease_and_another_one_does_not_start(database: Database) -> None:
    journal = Journal(database)
    await check_lease(Lease(0.5), journal)
    await check_lease(Lease(0.5), journal)
    with pytest.raises(SettingsError, match=r"JOURNAL_LEASE: 1 s here, 0\.5 s in the user database.*stateroom db lease 1"):
        await check_lease(Lease(1.0), journal)
    await journal.set_lease(1000)
    await check_lease(Lease(1.0), journal)


async def test_a_worker_that_started_without_the_journal_never_uses_another_lease(database: Database) -> None:
    await Journal(database).agree_on_lease(500)
    tail = Tail(Journal(database), RedisClock(), lease_ms=1000)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="another lease"):
            await tail.catch_up()
        assert tail.is_away
    await Journal(database).set_lease(1000)
    await tail.catch_up()
    assert not tail.is_away


async def test_a_journal_that_does_not_answer_is_asked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> int:
        raise DatabaseUnavailable("away, for a test")

    monkeypatch.setattr(NoJournal, "agree_on_lease", away)
    await check_lease(Lease(0.5), NoJournal())
