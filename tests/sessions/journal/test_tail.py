"""The tail: what it holds, in which order rows may come, and when the journal counts as away."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from unittest import mock

import pytest
from sqlalchemy import insert

from stateroom.database import Database
from stateroom.drills.postgres import Postgres
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal import tail as module
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.journal.sql import Journal, session_ends
from stateroom.sessions.journal.tail import GAP_SECONDS, ROWS_AT_START, Tail
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow, Row
from stateroom.sessions.store.redis_clock import RedisClock

from ...servers import Servers

NEVER = 2**50
LEASE_MS = 500


class Table(NoJournal):
    """Rows that are put there by hand. `gate`: reads wait for it; `is_away`: they fail."""

    has_journal = True

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self.reads = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    def commit(self, *numbers: int, user: str = "i1", generation: int | None = None) -> None:
        for seq in numbers:
            handle = None if generation is not None else f"h{seq}"
            self.rows[seq] = Row(seq, user, handle, generation, "logout", 0, NEVER)

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        rows = [row for seq, row in sorted(self.rows.items()) if seq > after and row.handle is None and row.expires_at > needed_at]
        return rows[:limit]

    async def newest(self, limit: int) -> list[Row]:
        return [row for _, row in sorted(self.rows.items())][-limit:]

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        self.reads += 1
        found = [row for seq, row in sorted(self.rows.items()) if seq > after or seq in gaps]
        await self.gate.wait()
        if self.is_away:
            raise DatabaseUnavailable("away")
        return found[:limit]


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def tail(table: Table) -> Tail:
    return Tail(table, RedisClock(), lease_ms=LEASE_MS)


async def test_a_row_that_commits_after_a_later_one_is_read_all_the_same(table: Table, tail: Tail) -> None:
    heard: list[int] = []
    tail.listen(lambda rows: heard.extend(row.seq for row in rows))
    table.commit(1, 2, 5)
    await tail.catch_up()
    assert (tail.contiguous, tail.highest) == (2, 5)
    table.commit(4, 6)
    await tail.catch_up()
    assert (tail.contiguous, tail.highest) == (2, 6)
    table.commit(3)
    await tail.catch_up()
    assert tail.contiguous == 6
    assert heard == [1, 2, 5, 4, 6, 3]
    assert [row.seq for row in tail.after(2)] == [5, 4, 6, 3]


async def test_a_number_that_nobody_used_is_forgotten_when_no_transaction_can_be_so_old(table: Table, tail: Tail) -> None:
    with mock.patch("time.monotonic", return_value=100.0) as clock:
        table.commit(1, 3)
        await tail.catch_up()
        clock.return_value += GAP_SECONDS + 1
        await tail.catch_up()
        assert tail.contiguous == 3


async def test_a_long_journal_is_begun_at_its_end(table: Table, tail: Tail) -> None:
    table.commit(*range(1, 2 * ROWS_AT_START))
    await tail.catch_up()
    assert tail.floor == ROWS_AT_START - 1
    assert len(tail.after(tail.floor)) == ROWS_AT_START
    assert tail.contiguous == 2 * ROWS_AT_START - 1


async def test_an_empty_journal_has_everything_from_the_first_row_on(table: Table, tail: Tail) -> None:
    await tail.catch_up()
    assert (tail.floor, tail.contiguous) == (0, 0)
    table.commit(1)
    await tail.catch_up()
    assert tail.reason(SessionRef("i1", "h1"), 0) == "logout"


async def test_the_oldest_rows_make_room_and_the_floor_says_so(table: Table, tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_KEPT", 10)
    await tail.catch_up()
    table.commit(*range(1, 13))
    table.commit(13, user="i2", generation=3)
    await tail.catch_up()
    assert tail.floor == 3
    assert tail.reason(SessionRef("i1", "h3"), 0) is None
    assert tail.reason(SessionRef("i1", "h4"), 0) == "logout"
    table.commit(*range(14, 30))
    await tail.catch_up()
    assert tail.floor == 19
    assert tail.reason(SessionRef("i2", "any"), 2) == "logout", "that all of a user's ended is known as long as it matters"


async def test_what_ended_all_of_a_users_is_known_from_the_start_until_no_session_is_older(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = RedisClock()
    tail = Tail(table, clock, lease_ms=LEASE_MS)
    monkeypatch.setattr(module, "ROWS_AT_START", 5)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    until = clock.now_ms() + 60_000
    for seq, generation in enumerate([1, 2, 3], 1):
        table.rows[seq] = Row(seq, "i1", None, generation, "password", 0, until)
    table.rows[4] = Row(4, "i2", None, 1, "password", 0, clock.now_ms() - 1)
    table.commit(*range(5, 50))
    await tail.catch_up()
    assert tail.floor > 4
    assert [tail.reason(SessionRef("i1", "any"), number) for number in (2, 3)] == ["password", None]
    clock.skew_ms += 60_001
    await tail.catch_up()
    assert tail.generations == {}


async def test_user_and_handle_must_both_match(table: Table, tail: Tail) -> None:
    table.commit(1)
    table.commit(2, user="i2", generation=3)
    await tail.catch_up()
    assert tail.reason(SessionRef("i1", "h1"), 0) == "logout"
    assert tail.reason(SessionRef("i9", "h1"), 0) is None
    assert tail.reason(SessionRef("i2", "any"), 2) == "logout"
    assert tail.reason(SessionRef("i2", "any"), 3) is None
    assert tail.reason(SessionRef("i1", "any"), 0) is None


async def test_another_users_row_about_a_handle_hides_none_of_its_owners(
    table: Table, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_KEPT", 2)
    await tail.catch_up()
    for seq, user in enumerate(["i2", "i1"], 1):
        table.rows[seq] = Row(seq, user, "h", None, "logout", 0, 0)
    await tail.catch_up()
    assert [tail.reason(SessionRef(user, "h"), 0) for user in ("i1", "i2", "i3")] == ["logout", "logout", None]
    table.commit(3)  # makes room by dropping the foreign row, not the owner's
    await tail.catch_up()
    assert [tail.reason(SessionRef(user, "h"), 0) for user in ("i1", "i2")] == ["logout", None]


async def test_who_asks_while_a_read_is_under_way_gets_the_next_one_together_with_others(table: Table, tail: Tail) -> None:
    table.gate.clear()
    first = asyncio.create_task(tail.catch_up())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    table.commit(1)  # too late for the read that has been sent
    later = [asyncio.create_task(tail.catch_up()) for _ in range(5)]
    await asyncio.sleep(0)
    table.gate.set()
    await first
    await asyncio.gather(*later)
    assert table.reads == 2
    assert ("i1", "h1") in tail.ended


async def test_a_journal_that_fails_is_away_until_a_read_succeeds(table: Table, tail: Tail) -> None:
    await tail.catch_up()
    table.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await tail.catch_up()
    assert [tail.is_away] == [True]
    reads = table.reads
    with pytest.raises(DatabaseUnavailable):
        await tail.catch_up_if_there()
    assert table.reads == reads, "nobody waits for what is known to be away"
    table.is_away = False
    await tail.catch_up()
    assert tail.is_away is bool(table.is_away)


async def test_a_journal_that_hangs_is_away_too(table: Table, tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    table.gate.clear()
    with pytest.raises(DatabaseUnavailable, match="too long"):
        await tail.catch_up()
    assert [tail.is_away] == [True]
    table.gate.set()
    await tail.catch_up()
    assert not tail.is_away
    await tail.aclose()


def values(handle: str) -> dict[str, object]:
    return {"user_key": "i1", "handle": handle, "reason": "logout", "ended_at": 0, "expires_at": 2**50}


@pytest.mark.parametrize("rows_before", [0, 1])
async def test_an_end_under_way_when_the_tail_begins_is_read_when_it_commits(
    postgres: Postgres, servers: Servers, rows_before: int
) -> None:
    """Numbers are given before the commit: a worker that starts may see a later row first, and nothing before it."""
    database = Database(servers.settings("fakeredis", database_url=postgres.make_database()))
    await database.upgrade()
    journal, tail = Journal(database), Tail(Journal(database), RedisClock(), lease_ms=LEASE_MS)
    for number in range(rows_before):
        await journal.record([EndRow("i9", f"before-{number}", "logout", 0, 2**50)])
    async with database.begin() as slow:
        await slow.execute(insert(session_ends).values(values("slow")))
        await journal.record([EndRow("i1", "quick", "logout", 0, 2**50)])
        await tail.catch_up()
        assert ("i1", "quick") in tail.ended
        assert ("i1", "slow") not in tail.ended
    await tail.catch_up()
    assert ("i1", "slow") in tail.ended
    await tail.aclose()
    await database.aclose()
