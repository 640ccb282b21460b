"""The tail: what it holds, in which order rows may come, and when the journal counts as away. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from stateroom.errors import DatabaseUnavailable
from stateroom.intervals import patience
from stateroom.sessions.journal import held_rows
from stateroom.sessions.journal import tail as module
from stateroom.sessions.journal.interface import Reading
from stateroom.sessions.journal.read_numbers import GAP_SECONDS, GAPS_LOOKED_FOR
from stateroom.sessions.journal.tail import ROWS_AT_START, Tail
from stateroom.sessions.model.deployment import Current, Deployment
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow, Row
from stateroom.sessions.store.redis_clock import RedisClock

from ..fake_journal import ASK_SECONDS, FakeJournal, Table
from ..virtual import Clock

pytestmark = pytest.mark.virtual_time

NEVER = 2**50
LEASE_MS = 500


class Journal(FakeJournal):
    """Its rows are put there by hand. `gate`: reads wait for it after they were sent."""

    def __init__(self) -> None:
        super().__init__(Table())
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def commit(self, *numbers: int, user: str = "i1", generation: int | None = None) -> None:
        for seq in numbers:
            handle = None if generation is not None else f"h{seq}"
            self.show(Row(seq, user, handle, generation, "logout", 0, NEVER))

    def show(self, row: Row) -> None:
        self.table.show(row)

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        self.reads += 1
        found = await super().read(after, gaps, limit, checked=checked)
        await self.gate.wait()
        return found


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def tail(clock: Clock, journal: Journal) -> Tail:
    return make_tail(journal, RedisClock())


def make_tail(journal: Journal, clock: RedisClock) -> Tail:
    return Tail(journal, clock, Deployment(), lease_ms=LEASE_MS)


def at(generation: int) -> Current:
    return Current(generation, "")


async def test_a_row_that_commits_after_a_later_one_is_read_all_the_same(journal: Journal, tail: Tail) -> None:
    heard: list[int] = []
    tail.listen(lambda rows: heard.extend(row.seq for row in rows))
    journal.commit(1, 2, 5)
    await tail.catch_up()
    assert (tail.contiguous, tail.highest) == (2, 5)
    journal.commit(4, 6)
    await tail.catch_up()
    assert (tail.contiguous, tail.highest) == (2, 6)
    journal.commit(3)
    await tail.catch_up()
    assert tail.contiguous == 6
    assert heard == [1, 2, 5, 4, 6, 3]
    assert [row.seq for row in tail.after(2)] == [5, 4, 6, 3]


async def test_a_number_that_nobody_used_is_forgotten_when_no_transaction_can_be_so_old(journal: Journal, tail: Tail) -> None:
    journal.commit(1, 3)
    await tail.catch_up()
    await asyncio.sleep(GAP_SECONDS - 1)
    await tail.catch_up()
    assert tail.contiguous == 1
    await asyncio.sleep(2)
    await tail.catch_up()
    assert tail.contiguous == 3


async def test_a_long_journal_is_begun_at_its_end(journal: Journal, tail: Tail) -> None:
    journal.commit(*range(1, 2 * ROWS_AT_START))
    await tail.catch_up()
    assert tail.floor == ROWS_AT_START - 1
    assert len(tail.after(tail.floor)) == ROWS_AT_START
    assert tail.contiguous == 2 * ROWS_AT_START - 1


async def test_an_empty_journal_has_everything_from_the_first_row_on(journal: Journal, tail: Tail) -> None:
    await tail.catch_up()
    assert (tail.floor, tail.contiguous) == (0, 0)
    journal.commit(1)
    await tail.catch_up()
    assert tail.reason(SessionRef("i1", "h1"), at(0)) == "logout"


async def test_the_oldest_rows_make_room_and_the_floor_says_so(
    journal: Journal, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_rows, "ROWS_KEPT", 10)
    await tail.catch_up()
    journal.commit(*range(1, 13))
    journal.commit(13, user="i2", generation=3)
    await tail.catch_up()
    assert tail.floor == 3
    assert tail.reason(SessionRef("i1", "h3"), at(0)) is None
    assert tail.reason(SessionRef("i1", "h4"), at(0)) == "logout"
    journal.commit(*range(14, 30))
    await tail.catch_up()
    assert tail.floor == 19
    assert tail.reason(SessionRef("i2", "any"), at(2)) == "logout", "that all of a user's ended is known as long as it matters"


async def test_what_ended_all_of_a_users_is_known_from_the_start_until_no_session_is_older(
    clock: Clock, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_clock = RedisClock()
    tail = make_tail(journal, redis_clock)
    monkeypatch.setattr(module, "ROWS_AT_START", 5)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    until = redis_clock.now_ms() + 60_000
    for seq, generation in enumerate([1, 2, 3], 1):
        journal.show(Row(seq, "i1", None, generation, "password", 0, until))
    journal.commit(*range(4, 50))
    await tail.catch_up()
    assert tail.floor > 3
    assert [tail.reason(SessionRef("i1", "any"), at(number)) for number in (2, 3)] == ["password", None]
    redis_clock.skew_ms += 60_001  # no clock alone makes anything due
    await tail.catch_up()
    tail.forget_due(until)
    assert list(tail.generations) == ["i1"]
    tail.forget_due(until + 1)
    assert tail.generations == {}


async def test_user_and_handle_must_both_match(journal: Journal, tail: Tail) -> None:
    journal.commit(1)
    journal.commit(2, user="i2", generation=3)
    await tail.catch_up()
    assert tail.reason(SessionRef("i1", "h1"), at(0)) == "logout"
    assert tail.reason(SessionRef("i9", "h1"), at(0)) is None
    assert tail.reason(SessionRef("i2", "any"), at(2)) == "logout"
    assert tail.reason(SessionRef("i2", "any"), at(3)) is None
    assert tail.reason(SessionRef("i1", "any"), at(0)) is None


async def test_another_users_row_about_a_handle_hides_none_of_its_owners(
    journal: Journal, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_rows, "ROWS_KEPT", 2)
    await tail.catch_up()
    for seq, user in enumerate(["i2", "i1"], 1):
        journal.show(Row(seq, user, "h", None, "logout", 0, 0))
    await tail.catch_up()
    assert [tail.reason(SessionRef(user, "h"), at(0)) for user in ("i1", "i2", "i3")] == ["logout", "logout", None]
    journal.commit(3)  # makes room by dropping the foreign row, not the owner's
    await tail.catch_up()
    assert [tail.reason(SessionRef(user, "h"), at(0)) for user in ("i1", "i2")] == ["logout", None]


async def test_who_asks_while_a_read_is_under_way_gets_the_next_one_together_with_others(journal: Journal, tail: Tail) -> None:
    journal.gate.clear()
    first = asyncio.create_task(tail.catch_up())
    while not journal.reads:
        await asyncio.sleep(ASK_SECONDS)
    await asyncio.sleep(ASK_SECONDS)
    journal.commit(1)  # too late for the read that has been sent
    later = [asyncio.create_task(tail.catch_up()) for _ in range(5)]
    await asyncio.sleep(ASK_SECONDS)
    journal.gate.set()
    await first
    await asyncio.gather(*later)
    assert journal.reads == 2
    assert ("i1", "h1") in tail.ended


async def test_a_journal_that_fails_is_away_until_a_read_succeeds(journal: Journal, tail: Tail) -> None:
    await tail.catch_up()
    journal.is_cut = True
    with pytest.raises(DatabaseUnavailable):
        await tail.catch_up()
    assert [tail.is_away] == [True]
    reads = journal.reads
    with pytest.raises(DatabaseUnavailable):
        await tail.catch_up_if_there()
    assert journal.reads == reads, "nobody waits for what is known to be away"
    journal.is_cut = False
    await tail.catch_up()
    assert tail.is_away is bool(journal.is_cut)


async def test_a_journal_that_hangs_is_away_too(clock: Clock, journal: Journal, tail: Tail) -> None:
    journal.gate.clear()
    began = clock.now
    with pytest.raises(DatabaseUnavailable, match="too long"):
        await tail.catch_up()
    assert clock.now - began == pytest.approx(patience(LEASE_MS / 1000))
    assert [tail.is_away] == [True]
    journal.gate.set()
    await tail.catch_up()
    assert not tail.is_away
    await tail.aclose()


async def test_a_restore_is_noticed_by_the_end_that_no_read_had_brought(clock: Clock, journal: Journal, tail: Tail) -> None:
    journal.commit(1, 2)
    await tail.catch_up()
    backup = journal.table.copy()
    await journal.record([EndRow("i1", "mine", "logout", 0)])
    tail.remember(Row(0, "i1", "mine", None, "logout", 0, NEVER))
    journal.table = backup
    clock.now += 0.001
    with pytest.raises(DatabaseUnavailable, match="restored"):
        await tail.catch_up()
    assert await journal.reason(SessionRef("i1", "mine"), 0) == "logout"


async def test_an_end_that_is_there_is_no_restore_though_no_read_brings_it(clock: Clock, journal: Journal, tail: Tail) -> None:
    """Too many others came between."""
    journal.commit(1)
    journal.commit(*range(GAPS_LOOKED_FOR + 10, GAPS_LOOKED_FOR + 12))
    await tail.catch_up()
    journal.show(Row(3, "i1", "mine", None, "logout", 0, NEVER))
    tail.remember(Row(0, "i1", "mine", None, "logout", 0, NEVER))
    clock.now += 0.001
    await tail.catch_up()
    assert tail.reason(SessionRef("i1", "mine"), at(0)) is None
    assert tail.restarts == 0


async def test_how_old_a_value_may_be_that_proves_something_is_known_from_the_start(
    journal: Journal, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though newer rows fill the first read. Rule 14 of the protocol."""
    monkeypatch.setattr(module, "ROWS_AT_START", 2)
    for not_before in (5000, 4000):
        journal.table.note_clock(not_before, kept_from=0)
    journal.commit(*range(3, 9))
    assert tail.not_before_ms == 0
    await tail.catch_up()
    assert tail.not_before_ms == 5000
    journal.table.note_clock(7000, kept_from=0)
    await tail.catch_up()
    assert tail.not_before_ms == 7000
