"""Looking sessions up in the journal: who shares a question, and who gives up. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal.interface import LookedUp
from stateroom.sessions.journal.lookup import SESSIONS_AT_ONCE, Lookup
from stateroom.sessions.model.deployment import Current, Deployment
from stateroom.sessions.model.identity import SessionRef

from ..fake_journal import FakeJournal, Table
from ..virtual import Clock

pytestmark = pytest.mark.virtual_time

ANSWER_SECONDS = 0.01
PATIENCE_SECONDS = 1.5
FIRST = Current(0, "")


def deployment() -> Deployment:
    made = Deployment()
    made.id = Table().deployment.id
    return made


class Counting(FakeJournal):
    """Remembers what was asked. `gate`: questions wait for it before they are sent."""

    def __init__(self) -> None:
        super().__init__(Table())
        self.asked: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def end(self, handle: str) -> None:
        self.table.show(self.table.number("i1", handle, None, "logout"))

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        self.asked.append(len(refs))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        found = await super().look_up(refs, checked=checked)
        await asyncio.sleep(ANSWER_SECONDS)  # what is committed meanwhile is not in it
        self.under_way -= 1
        return found


async def test_one_question_is_under_way_and_who_comes_meanwhile_shares_the_next() -> None:
    journal = Counting()
    lookup = Lookup(journal, deployment(), lambda: False, patience=PATIENCE_SECONDS)
    first = asyncio.create_task(lookup.ask(SessionRef("i1", "a"), FIRST))
    await asyncio.sleep(ANSWER_SECONDS)
    assert (journal.asked, journal.under_way) == ([1], 1), "it was sent, and its answer is on its way"
    journal.end("a")
    later = [asyncio.create_task(lookup.ask(SessionRef("i1", "a"), FIRST)) for _ in range(10)]
    later += [asyncio.create_task(lookup.ask(SessionRef("i1", f"h{number}"), FIRST)) for number in range(SESSIONS_AT_ONCE)]
    assert await first is None
    answers = await asyncio.gather(*later)
    assert answers[:10] == ["logout"] * 10, "an end that was committed before somebody asked is seen"
    assert set(answers[10:]) == {None}
    assert journal.asked == [1, SESSIONS_AT_ONCE, 1]
    assert journal.most_under_way == 1


async def test_a_journal_that_is_away_is_not_asked() -> None:
    journal = Counting()
    with pytest.raises(DatabaseUnavailable):
        await Lookup(journal, deployment(), lambda: True, patience=PATIENCE_SECONDS).ask(SessionRef("i1", "a"), FIRST)
    assert journal.asked == []


async def test_a_question_that_hangs_is_given_up_and_says_so(clock: Clock) -> None:
    journal = Counting()
    journal.gate.clear()
    lookup = Lookup(journal, deployment(), lambda: False, patience=PATIENCE_SECONDS)
    began = clock.now
    with pytest.raises(DatabaseUnavailable, match="too long"):
        await lookup.ask(SessionRef("i1", "a"), FIRST)
    assert clock.now - began == pytest.approx(PATIENCE_SECONDS)
    journal.gate.set()
    assert await lookup.ask(SessionRef("i1", "b"), FIRST) is None
    await lookup.aclose()


async def test_a_database_that_names_no_deployment_is_an_unavailable_journal() -> None:
    """Rule 12 of the protocol: it may be restored just now, or a name leads to an empty one. It would end nobody."""

    class Nobodys(FakeJournal):
        async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
            return (await super().look_up(refs, checked=checked))._replace(deployment=None)

    lookup = Lookup(Nobodys(Table()), deployment(), lambda: False, patience=PATIENCE_SECONDS)
    with pytest.raises(DatabaseUnavailable, match="another deployment"):
        await lookup.ask(SessionRef("i1", "a"), FIRST)
