"""The SQL journal on both kinds of database, and the fake of it that tests in virtual time use: they must agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from stateroom.database import Database
from stateroom.drills.postgres import Postgres
from stateroom.errors import Conflict, DatabaseUnavailable
from stateroom.sessions.journal.interface import EndsJournal
from stateroom.sessions.journal.lookup import Lookup
from stateroom.sessions.journal.pruning import NOTES_PER_LIFETIME
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.journal.tables import fleet, session_ends, session_generations
from stateroom.sessions.journal.tail import Tail
from stateroom.sessions.model.deployment import Current, Deployment, SentinelRow
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import CLOCK, EndRow, Row
from stateroom.sessions.protocol.accepting import accept_epoch
from stateroom.sessions.store.redis_clock import RedisClock

from ...patience import PATIENCE_SECONDS
from ...servers import Servers
from ..fake_journal import FakeJournal, Table

LEASE_MS = 500
LONGEST_MS = 3_600_000


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where the database is; None for the fake."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.make_database()
    return f"sqlite:///{tmp_path}/journal.db" if request.param == "sqlite" else None


@pytest.fixture
async def journal(journal_url: str | None, servers: Servers) -> AsyncIterator[EndsJournal]:
    """Each journal, empty."""
    if journal_url is None:
        yield FakeJournal(Table(LONGEST_MS))
        return
    database = Database(servers.settings("fakeredis", database_url=journal_url))
    await database.upgrade()
    yield Journal(database, LONGEST_MS)
    await database.aclose()


def row(user: str, handle: str, reason: str = "logout") -> EndRow:
    return EndRow(user, handle, reason, 0)


async def test_ends_and_generations_are_found_by_key(journal: EndsJournal) -> None:
    lookup = Lookup(journal, await own(journal), lambda: False, patience=PATIENCE_SECONDS)
    await journal.record([row("i1", "a"), row("i1", "b", "rotated"), row("i2", "c")])
    assert await journal.raise_generation("i3", "password", ended_at=0) == 1
    asked = [("i1", "a", 0), ("i1", "b", 0), ("i2", "a", 0), ("i3", "x", 0), ("i3", "x", 1), ("i4", "y", 0)]
    answers = await asyncio.gather(
        *(lookup.ask(SessionRef(user, handle), Current(generation, "")) for user, handle, generation in asked)
    )
    assert answers == ["logout", "rotated", None, "password", None, None]


@pytest.mark.parametrize("others", [None, "revoked"])
async def test_a_rotation_is_committed_for_a_session_that_has_no_end(journal: EndsJournal, others: str | None) -> None:

    async def rotate(handle: str, generation: int, revokes: str | None) -> bool:
        rotation = EndRow("i1", handle, "rotated", 0, successor=f"{handle}-next")
        return await journal.rotate(rotation, Current(generation, ""), revokes=revokes)

    assert await rotate("a", 0, "revoked") is True
    assert (await journal.current("i1")).generation == 1
    assert await rotate("b", 0, others) is False, "a sign-out elsewhere has ended it"
    assert await rotate("a", 1, others) is False, "it was rotated"
    assert (await journal.current("i1")).generation == 1
    asked = [SessionRef("i1", "a"), SessionRef("i1", "b")]
    rows = (await journal.look_up(asked)).rows
    assert [(each.handle, each.reason, each.successor) for each in rows] == [("a", "rotated", "a-next")]
    assert [await journal.reason(SessionRef("i1", "b"), number) for number in (0, 1)] == ["revoked", None]
    assert sum(await asyncio.gather(*(rotate(f"c{number}", 1, "revoked") for number in range(8)))) == 1
    for number in range(20):
        generation = (await journal.current("i1")).generation
        both = [rotate(f"d{number}", generation, revokes) for revokes in (None, others)]
        assert sum(await asyncio.gather(*both)) == 1


async def test_a_raised_generation_is_higher_than_every_one_that_was_seen(journal: EndsJournal) -> None:
    async def revoke(seen: int) -> int:
        return await journal.raise_generation("i1", "revoked", seen=seen, ended_at=0)

    assert [await revoke(seen) for seen in (0, 0, 5, 2)] == [1, 2, 6, 7]
    assert sorted(await asyncio.gather(*(revoke(0) for _ in range(4)))) == [8, 9, 10, 11]
    assert (await journal.current("i1")).generation == 11
    assert (await journal.look_up([SessionRef("i1", "a"), SessionRef("i2", "b")])).generations == {"i1": 11}


async def test_rows_are_read_in_the_order_of_their_numbers(journal: EndsJournal) -> None:
    await journal.record([row("i1", f"h{number}") for number in range(4)])
    await journal.raise_generation("i1", "revoked", ended_at=0)
    rows = await journal.of_user("i1")
    numbers = [each.seq for each in rows]
    assert numbers == sorted(numbers)
    assert [each.handle for each in rows] == ["h0", "h1", "h2", "h3", None]
    assert await journal.newest(2) == rows[-2:]
    assert (await journal.read(numbers[1], (), 2)).rows == rows[2:4]
    assert (await journal.read(numbers[2], (numbers[0],), 9)).rows == [rows[0], *rows[3:]]
    assert await journal.raised(0, 9) == rows[-1:]
    assert await journal.raised(numbers[4], 9) == []


async def test_the_first_lease_and_the_first_name_are_the_deployments(journal: EndsJournal) -> None:
    rows = [await journal.agree(lease_ms=lease, name=name) for lease, name in ((500, "a"), (700, "b"))]
    assert [row and (row.lease_ms, row.name) for row in rows] == [(500, "a"), (500, "a")]


async def test_everybodys_end_changes_the_epoch_once_for_each_time_it_is_asked_for(journal: EndsJournal) -> None:
    changes = await asyncio.gather(*(journal.change_epoch("everybody", ended_at=0) for _ in range(4)))
    assert {each.before for each in changes} == {"", *(each.after for each in changes)} - {(await journal.current("")).epoch}
    rotation = EndRow("i1", "a", "rotated", 0, successor="b")
    assert await journal.rotate(rotation, Current(0, ""), revokes=None) is False, "everybody's end has ended it"
    [*rows] = await journal.raised(0, 9)
    assert [row.epoch for row in rows] == [row.epoch for row in await journal.newest(9)]


async def test_what_a_restored_database_lacks_is_committed_again_and_once(journal: EndsJournal) -> None:
    await journal.record([row("i1", "kept")])
    [kept] = await journal.newest(9)
    lost = [
        Row(2, "i1", "lost", None, "logout", 0, 10**15, nonce="two"),
        Row(3, "i2", None, 4, "password", 0, 10**15, nonce="three"),
        Row(4, "", None, None, "everybody", 0, 10**15, "later", "four", ""),
        Row(5, "i3", None, None, "registered", 0, 10**15, nonce="five"),
    ]
    assert await journal.recommit([kept, *lost], SentinelRow()) == 3
    assert await journal.recommit([kept, *lost], SentinelRow()) == 0
    assert [each.nonce for each in await journal.newest(9)] == [kept.nonce, "two", "three", "four"]
    assert await journal.current("i2") == Current(4, "later")
    found = await journal.look_up([SessionRef("i1", "lost")])
    assert [each.reason for each in found.rows] == ["logout"]
    assert found.deployment is not None
    assert found.deployment.restored


async def test_a_read_tells_which_rows_are_still_there(journal: EndsJournal) -> None:
    await journal.record([row("i1", "a"), row("i1", "b")])
    rows = await journal.newest(9)
    reading = await journal.read(rows[-1].seq, (), 9, checked=[rows[0].seq, rows[1].seq, 99])
    assert dict(reading.nonces) == {each.seq: each.nonce for each in rows}
    assert None not in reading.nonces.values()


async def test_nothing_is_committed_to_another_deployments_database_and_no_rotation_is_looked_up_there(
    journal: EndsJournal,
) -> None:
    """Rule 12 of the protocol: a name leads there for a moment. An end would be acknowledged of which nobody hears."""
    other = Deployment()
    other.id = "another"
    journal.belong_to(other)
    for work in (
        journal.record([row("i1", "a")]),
        journal.raise_generation("i1", "password", ended_at=0),
        journal.change_epoch("everybody", ended_at=0),
        journal.successors(SessionRef("i1", "a"), 9),
        journal.current("i1"),
    ):
        with pytest.raises(DatabaseUnavailable, match="another deployment"):
            await work
    assert await journal.newest(9) == []


async def go_back_but_for_the_rows(journal: EndsJournal) -> None:
    """Half of the database is restored: generations and the epoch become what they were at first."""
    if isinstance(journal, FakeJournal):
        journal.table.generations.clear()
        journal.table.deployment = journal.table.deployment._replace(epoch="")
        return
    assert isinstance(journal, Journal)
    await journal._execute(delete(session_generations))
    await journal._execute(update(fleet).values(epoch=""))


async def test_what_rows_did_is_done_again_where_only_the_other_tables_went_back(journal: EndsJournal) -> None:
    """Rule 18 of the protocol."""
    await journal.raise_generation("i1", "password", ended_at=0)
    for _ in range(2):
        await journal.change_epoch("everybody", ended_at=0)
    before, rows = await journal.current("i1"), await journal.newest(9)
    await go_back_but_for_the_rows(journal)
    assert await journal.current("i1") == Current(0, "")
    tail = Tail(journal, RedisClock(), Deployment(), lease_ms=LEASE_MS)
    with pytest.raises(DatabaseUnavailable, match="restored"):  # an epoch that was replaced is the deployment's again
        await tail.catch_up()
    assert await journal.current("i1") == before
    assert await journal.newest(9) == rows


async def test_a_row_is_kept_for_the_longest_lifetime_by_the_clock_that_is_ahead(journal: EndsJournal) -> None:
    """Rule 14 of the protocol: by the database's, or by Redis', which the session's sealed value has its times of."""
    now = await journal.now_ms()
    await journal.record([row("i1", "a"), EndRow("i1", "b", "logout", now + 50_000_000)])
    await journal.raise_generation("i2", "password", ended_at=0)
    await journal.raise_generation("i2", "password", ended_at=now + 50_000_000)
    early, late, early_raised, late_raised = [each.expires_at for each in await journal.newest(9)]
    for each in (early, early_raised):
        assert 0 <= each - now - LONGEST_MS < 10_000
    assert late == late_raised == now + 50_000_000 + LONGEST_MS


async def test_rows_that_were_due_are_pruned_but_never_the_newest(journal: EndsJournal) -> None:
    """The newest tells that a database was restored (rule 18 of the protocol)."""
    await journal.record([row("i1", handle) for handle in "abc"])
    now = await journal.now_ms()
    assert await journal.prune(now, 9) == 0
    assert await journal.prune(now + 2 * LONGEST_MS, 1) == 1
    assert await journal.prune(now + 2 * LONGEST_MS, 9) == 1
    assert [each.handle for each in await journal.newest(9)] == ["c"]


async def test_a_prune_notes_how_old_a_sealed_value_may_be_whose_end_is_gone(journal: EndsJournal) -> None:
    """Rule 14 of the protocol: a worker that starts later must know it."""
    now = await journal.now_ms()
    await journal.record([EndRow("i1", handle, "logout", now + number) for number, handle in enumerate("abc")])
    assert await journal.prune(now + LONGEST_MS + 60_000, 2) == 2
    [note] = await journal.raised(0, 9)
    assert note.reason == CLOCK
    assert now + 1 <= note.ended_at <= now + LONGEST_MS // NOTES_PER_LIFETIME + 1
    assert await journal.prune(now + LONGEST_MS + 60_000, 9) == 1
    assert await journal.raised(0, 9) == [note]  # it covers the last one too
    assert await journal.prune(now + 3 * LONGEST_MS, 9) == 0  # the newest row is never pruned


async def test_rows_are_kept_until_values_from_a_clock_that_was_ahead_are_too_old(journal: EndsJournal) -> None:
    """Rule 14 of the protocol."""
    now = await journal.now_ms()
    ahead = now + 50_000_000
    for _ in range(2):  # each worker finds it out
        await journal.note_set_back(now, sealed_until=ahead)
    [note] = await journal.raised(0, 9)
    assert (note.reason, note.ended_at, note.expires_at) == (CLOCK, now, ahead + LONGEST_MS)
    await journal.record([row("i1", "a")])
    assert (await journal.newest(1))[0].expires_at == ahead + LONGEST_MS


async def own(journal: EndsJournal) -> Deployment:
    """The deployment whose journal this is."""
    deployment, row = Deployment(), await journal.agree(lease_ms=LEASE_MS, name="")
    assert row is not None
    deployment.id = row.id
    return deployment


def make_tail(database: Database) -> Tail:
    return Tail(Journal(database, LONGEST_MS), RedisClock(), Deployment(), lease_ms=LEASE_MS)


def values(handle: str) -> dict[str, object]:
    return {"user_key": "i1", "handle": handle, "reason": "logout", "ended_at": 0, "expires_at": 2**50}


@pytest.mark.parametrize("rows_before", [0, 1])
async def test_an_end_under_way_when_the_tail_begins_is_read_when_it_commits(
    postgres: Postgres, servers: Servers, rows_before: int
) -> None:
    """Numbers are given before the commit: a worker that starts may see a later row first, and nothing before it."""
    database = Database(servers.settings("fakeredis", database_url=postgres.make_database()))
    await database.upgrade()
    journal, tail = Journal(database, LONGEST_MS), make_tail(database)
    for number in range(rows_before):
        await journal.record([EndRow("i9", f"before-{number}", "logout", 0)])
    async with database.begin() as slow:
        await slow.execute(insert(session_ends).values(values("slow")))
        await journal.record([EndRow("i1", "quick", "logout", 0)])
        await tail.catch_up()
        assert ("i1", "quick") in tail.ended
        assert ("i1", "slow") not in tail.ended
    await tail.catch_up()
    assert ("i1", "slow") in tail.ended
    await tail.aclose()
    await database.aclose()


async def test_the_agreed_primary_is_raised_only_and_accepted_once(journal: EndsJournal) -> None:
    assert await journal.raise_sentinels(SentinelRow(0, 3, "a:1")) == (0, 3, "a:1")
    assert await journal.raise_sentinels(SentinelRow(0, 3, "b:1")) == (0, 3, "a:1")
    assert await journal.raise_sentinels(SentinelRow(0, 2, "b:1")) == (0, 3, "a:1")
    assert await journal.raise_sentinels(SentinelRow(1, 9, "b:1")) == (0, 3, "a:1")
    seen = SentinelRow(0, 3, "a:1")
    assert await journal.accept_sentinels(seen, epoch=0, primary="b:1") == (1, 0, "b:1")
    assert await journal.accept_sentinels(seen, epoch=0, primary="c:1") == (1, 0, "b:1")
    assert await journal.raise_sentinels(SentinelRow(0, 8, "a:1")) == (1, 0, "b:1")
    reading = await journal.read(0, (), 1)
    assert reading.deployment is not None
    assert reading.deployment.sentinels == (1, 0, "b:1")


async def test_a_restored_database_learns_again_which_primary_was_agreed_on(journal: EndsJournal) -> None:
    await journal.raise_sentinels(SentinelRow(0, 3, "a:1"))
    for told, kept in [((1, 0, "b:1"), (1, 0, "b:1")), ((0, 5, "a:1"), (1, 0, "b:1"))]:
        await journal.recommit([], SentinelRow(*told))
        reading = await journal.read(0, (), 1)
        assert reading.deployment is not None
        assert reading.deployment.sentinels == kept


async def test_of_two_acceptances_at_once_one_is_committed(journal: EndsJournal) -> None:
    await journal.raise_sentinels(SentinelRow(0, 3, "a:1"))
    seen = SentinelRow(0, 3, "a:1")
    same = await asyncio.gather(*(accept_epoch(journal, seen, epoch=0, primary="b:1") for _ in range(2)))
    assert same == [(1, 0, "b:1")] * 2
    with pytest.raises(Conflict, match="run the command again"):
        await accept_epoch(journal, seen, epoch=0, primary="c:1")
