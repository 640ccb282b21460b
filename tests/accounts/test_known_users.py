"""What a process knows of users for forward auth: a minute while the database answers, `DEGRADED_MAX_AGE` while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stateroom import DatabaseUnavailable
from stateroom.accounts import User, known_users
from stateroom.accounts.access import Person
from stateroom.accounts.known_users import FACTS_SECONDS, RETRY_SECONDS, USERS_REMEMBERED, KnownUsers

ADA = User(7, "ada@example.com", "Ada", "hash", 0, None)
TRUSTED_SECONDS = 300.0


class Database:
    """The tables of users and groups. `asked`: how often a user was read."""

    def __init__(self) -> None:
        self.user: User | None = ADA
        self.groups = ["staff"]
        self.is_down = False
        self.asked = 0

    async def by_id(self, user_id: int) -> User | None:
        self.asked += 1
        if self.is_down:
            raise DatabaseUnavailable("down, for a test")
        return None if self.user is None else replace(self.user, id=user_id)

    async def of(self, user_id: int) -> list[str]:
        return self.groups


class Hanging(Database):
    """It answers only while `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def by_id(self, user_id: int) -> User | None:
        found = await super().by_id(user_id)
        await self.answers.wait()
        return found


class Place:
    """`now`: the monotonic clock. `unknown`: the users who were reported."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.database = Database()
        self.unknown: list[int] = []
        tables: Any = self.database
        self.users = KnownUsers(
            tables,
            tables,
            person_of=person_of,
            is_restricted=is_restricted,
            trusted_seconds=TRUSTED_SECONDS,
            report_unknown=self.unknown.append,
        )


def is_restricted(user: User) -> bool:
    return False


def person_of(user: User, groups: frozenset[str]) -> Person:
    return Person(user.id, user.name, groups)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place()
    monkeypatch.setattr("stateroom.accounts.known_users.time.monotonic", lambda: made.now)
    return made


async def test_facts_are_read_once_a_minute(place: Place) -> None:
    facts = await place.users.facts(7)
    assert (facts.user.name, facts.groups, facts.user.password_hash) == ("Ada", frozenset({"staff"}), "")
    place.database.groups = []
    place.now += FACTS_SECONDS - 0.001
    assert (await place.users.facts(7)).groups == {"staff"}
    assert place.database.asked == 1
    place.now += 0.002
    assert (await place.users.facts(7)).groups == set()
    assert place.database.asked == 2


async def test_a_user_who_is_read_for_another_reason_is_told_at_once(place: Place) -> None:
    await place.users.facts(7)
    place.users.remember(replace(ADA, name="Countess"))
    facts = await place.users.facts(7)
    assert (facts.user.name, facts.person) == ("Countess", Person(7, "Countess", frozenset({"staff"})))


@pytest.mark.parametrize("pause", [TRUSTED_SECONDS, TRUSTED_SECONDS + 0.001])
async def test_while_the_database_is_unavailable_facts_are_good_for_a_bounded_time(place: Place, pause: float) -> None:
    await place.users.facts(7)
    place.database.is_down = True
    place.now += pause
    if pause > TRUSTED_SECONDS:
        with pytest.raises(DatabaseUnavailable):
            await place.users.facts(7)
    else:
        assert (await place.users.facts(7)).groups == {"staff"}


async def test_a_user_who_was_not_asked_for_before_is_not_known_then(place: Place) -> None:
    place.users.remember(ADA)
    place.database.is_down = True
    with pytest.raises(DatabaseUnavailable):
        await place.users.facts(7)


async def test_no_request_waits_for_an_unavailable_database_if_another_has_just_waited(place: Place) -> None:
    await place.users.facts(7)
    place.database.is_down = True
    place.now += FACTS_SECONDS + 1
    for _ in range(5):
        assert (await place.users.facts(7)).user.name == "Ada"
    assert place.database.asked == 2
    with pytest.raises(DatabaseUnavailable):
        await place.users.facts(8)
    place.now += RETRY_SECONDS
    place.database.is_down = False
    place.database.groups = ["admin"]
    assert (await place.users.facts(7)).groups == {"admin"}


async def test_a_database_that_hangs_keeps_no_request_waiting_that_has_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would not wait so long, and answer 503."""
    monkeypatch.setattr(known_users, "FACTS_SECONDS", 0.0)
    monkeypatch.setattr(known_users, "PATIENCE_SECONDS", 0.01)
    tables: Any = Hanging()
    users = KnownUsers(
        tables,
        tables,
        person_of=person_of,
        is_restricted=is_restricted,
        trusted_seconds=TRUSTED_SECONDS,
        report_unknown=print,
    )
    tables.answers.set()
    await users.facts(7)
    tables.answers.clear()
    tables.groups = []
    for _ in range(3):
        assert (await users.facts(7)).groups == {"staff"}
    assert tables.asked == 2, "one question is under way"
    waiting = asyncio.create_task(users.facts(8))
    tables.answers.set()
    assert (await waiting).groups == set()
    assert (await users.facts(7)).groups == set(), "what the slow question found is kept"
    tables.answers.clear()
    waiting = asyncio.create_task(users.facts(9))
    await asyncio.sleep(0)
    await users.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_many_requests_of_a_user_are_one_question(place: Place) -> None:
    await asyncio.gather(*(place.users.facts(7) for _ in range(50)))
    assert place.database.asked == 1


async def test_a_user_whom_the_database_does_not_know_is_reported_and_not_trusted(place: Place) -> None:
    await place.users.facts(7)
    place.database.user = None
    place.now += FACTS_SECONDS + 1
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await place.users.facts(7)
    assert place.unknown == [7, 7]
    assert place.users.last_read(7) is None


async def test_an_unknown_user_makes_the_facts_of_nobody_older(place: Place) -> None:
    await place.users.facts(7)
    place.now += FACTS_SECONDS + 1
    ada, place.database.user, place.database.groups = place.database.user, None, []
    with pytest.raises(DatabaseUnavailable):
        await place.users.facts(8)
    place.database.user = ada
    assert (await place.users.facts(7)).groups == set(), "the database answers, and Ada has left the group"


async def test_a_bounded_number_of_users_is_known(place: Place) -> None:
    is_known: Callable[[int], bool] = lambda user_id: place.users.last_read(user_id) is not None  # noqa: E731
    for user_id in range(USERS_REMEMBERED + 1):
        await place.users.facts(user_id)
    assert (is_known(0), is_known(1)) == (False, True)
    place.database.is_down = True
    with pytest.raises(DatabaseUnavailable):
        await place.users.facts(0)
    assert len(place.users._read) == USERS_REMEMBERED
