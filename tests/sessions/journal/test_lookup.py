"""Looking sessions up in the journal, on both kinds of database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stateroom.database import Database
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal import lookup as lookup_module
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.journal.lookup import SESSIONS_AT_ONCE, Lookup
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow, Row


def row(user: str, handle: str, reason: str = "logout") -> EndRow:
    return EndRow(user, handle, reason, 0, 10**15)


async def test_ends_and_generations_are_found_by_key(database: Database) -> None:
    journal = Journal(database)
    lookup = Lookup(journal, lambda: False)
    await journal.record([row("i1", "a"), row("i1", "b", "rotated"), row("i2", "c")])
    assert await journal.raise_generation("i3", "password", ended_at=0, expires_at=10**15) == 1
    asked = [("i1", "a", 0), ("i1", "b", 0), ("i2", "a", 0), ("i3", "x", 0), ("i3", "x", 1), ("i4", "y", 0)]
    answers = await asyncio.gather(*(lookup.ask(SessionRef(user, handle), generation) for user, handle, generation in asked))
    assert answers == ["logout", "rotated", None, "password", None, None]


@pytest.mark.parametrize("others", [None, "revoked"])
async def test_a_rotation_is_committed_for_a_session_that_has_no_end(database: Database, others: str | None) -> None:
    journal = Journal(database)

    async def rotate(handle: str, generation: int, revokes: str | None) -> bool:
        rotation = EndRow("i1", handle, "rotated", 0, 10**15, successor=f"{handle}-next")
        return await journal.rotate(rotation, generation, revokes=revokes, expires_at=10**15)

    assert await rotate("a", 0, "revoked") is True
    assert await journal.generation("i1") == 1
    assert await rotate("b", 0, others) is False, "a sign-out elsewhere has ended it"
    assert await rotate("a", 1, others) is False, "it was rotated"
    assert await journal.generation("i1") == 1
    asked = [SessionRef("i1", "a"), SessionRef("i1", "b")]
    rows, _ = await journal.look_up(asked)
    assert [(each.handle, each.reason, each.successor) for each in rows] == [("a", "rotated", "a-next")]
    assert [await journal.reason(SessionRef("i1", "b"), number) for number in (0, 1)] == ["revoked", None]
    assert sum(await asyncio.gather(*(rotate(f"c{number}", 1, "revoked") for number in range(8)))) == 1
    for number in range(20):
        generation = await journal.generation("i1")
        both = [rotate(f"d{number}", generation, revokes) for revokes in (None, others)]
        assert sum(await asyncio.gather(*both)) == 1


class Counting(NoJournal):
    """Remembers what was asked, each question behind a gate."""

    has_journal = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.ended: set[str] = set()

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        self.asked.append(len(refs))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        ended = set(self.ended)  # what is committed when the question is sent
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.under_way -= 1
        return [Row(0, user, handle, None, "logout", 0, 0) for user, handle in refs if handle in ended], {}


async def test_one_question_is_under_way_and_who_comes_meanwhile_shares_the_next() -> None:
    journal = Counting()
    lookup = Lookup(journal, lambda: False)
    first = asyncio.create_task(lookup.ask(SessionRef("i1", "a"), 0))
    while not journal.asked:
        await asyncio.sleep(0)
    journal.ended.add("a")
    later = [asyncio.create_task(lookup.ask(SessionRef("i1", "a"), 0)) for _ in range(10)]
    later += [asyncio.create_task(lookup.ask(SessionRef("i1", f"h{number}"), 0)) for number in range(SESSIONS_AT_ONCE)]
    assert await first is None
    answers = await asyncio.gather(*later)
    assert answers[:10] == ["logout"] * 10, "an end that was committed before somebody asked is seen"
    assert set(answers[10:]) == {None}
    assert journal.asked == [1, SESSIONS_AT_ONCE, 1]
    assert journal.most_under_way == 1


async def test_a_journal_that_is_away_is_not_asked() -> None:
    journal = Counting()
    with pytest.raises(DatabaseUnavailable):
        await Lookup(journal, lambda: True).ask(SessionRef("i1", "a"), 0)
    assert journal.asked == []


async def test_a_question_that_hangs_is_given_up_and_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_module, "PATIENCE_SECONDS", 0.05)

    gate = asyncio.Event()
    journal = Journal(database)
    real = journal.look_up

    async def held(refs: Sequence[SessionRef]) -> object:
        await gate.wait()
        return await real(refs)

    monkeypatch.setattr(journal, "look_up", held)
    lookup = Lookup(journal, lambda: False)
    with pytest.raises(DatabaseUnavailable, match="too long"):
        await lookup.ask(SessionRef("i1", "a"), 0)
    gate.set()
    assert await lookup.ask(SessionRef("i1", "b"), 0) is None
    await lookup.aclose()
