"""The journal's mark in a Cluster: for which slots it is right. One real server stands for a primary, whose slots a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.database import Database
from stateroom.errors import StoreUnavailable
from stateroom.sessions.model.rows import Row
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.store.key_names import KeyNames
from stateroom.testing import settings

from .fleet import PREFIX, Fleet, Worker, fleet_on

MARK, SLOTS = KeyNames(PREFIX).cursor(""), KeyNames(PREFIX).cursor_slots("")
ROWS = 20


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setattr("stateroom.sessions.journal.tail.ROWS_AT_START", 5)
    monkeypatch.setattr("stateroom.sessions.journal.read_numbers.GAPS_LOOKED_FOR", 5)
    monkeypatch.setattr("stateroom.sessions.protocol.replay.REST_SECONDS", 0.0)
    database = Database(settings(database_url=f"sqlite:///{tmp_path}/users.db"))
    await database.upgrade()
    async with fleet_on(tmp_path, database) as made:
        yield made
    await database.aclose()


async def joined(fleet: Fleet, slots: int) -> Worker:
    """A worker with a short tail, for which the primary has these slots."""
    worker = await fleet.join()
    holds(worker, slots)
    await worker.settle()
    return worker


def holds(worker: Worker, slots: int) -> None:
    worker.client.standing("").holds(slots)


async def ghost(fleet: Fleet, worker: Worker) -> Session:
    """A session that an early row of the journal ends, as it comes with a slot from a primary that lags."""
    session, _ = await worker.sign_in()
    for _ in range(ROWS):
        await fleet.end_by_row(record_of(session).ref)
    await fleet.call("SET", MARK, ROWS)
    return session


async def mark(fleet: Fleet) -> int:
    return int(await fleet.call("GET", MARK))


async def slots(fleet: Fleet) -> int:
    value = await fleet.call("GET", SLOTS)
    return int(value.decode().partition(":")[0], 16)


async def test_a_primary_that_gets_a_slot_is_replayed_into_from_the_beginning(fleet: Fleet) -> None:
    await joined(fleet, 0b01)
    assert await slots(fleet) == 0b01
    session = await ghost(fleet, await joined(fleet, 0b01))
    late = await joined(fleet, 0b11)
    assert not await late.store.exists(record_of(session).ref)
    assert await slots(fleet) == 0b11
    assert await mark(fleet) == ROWS


async def test_a_slot_that_left_is_forgotten_and_the_mark_stays(fleet: Fleet) -> None:
    worker = await joined(fleet, 0b11)
    session = await ghost(fleet, worker)
    await worker.settle()
    holds(worker, 0b01)
    await worker.settle()
    assert await slots(fleet) == 0b01
    assert await mark(fleet) == ROWS
    assert await worker.store.exists(record_of(session).ref)
    late = await joined(fleet, 0b11)
    assert not await late.store.exists(record_of(session).ref)


@pytest.mark.parametrize("value", [None, "", "x:y", "\N{SNOWMAN}"])
async def test_a_mark_whose_slots_are_unknown_is_right_for_none(fleet: Fleet, value: str | None) -> None:
    session = await ghost(fleet, await joined(fleet, 0b01))
    await fleet.call(*(("DEL", SLOTS) if value is None else ("SET", SLOTS, value)))
    late = await joined(fleet, 0b01)
    assert not await late.store.exists(record_of(session).ref)
    assert await slots(fleet) == 0b01


async def test_a_worker_with_an_old_map_does_not_move_a_mark_that_was_set_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await joined(fleet, 0b01)
    await ghost(fleet, old)
    new = await joined(fleet, 0b01)
    old.replay.sweeps = True
    await old.tail.catch_up()
    replay = old.replay._replay

    async def slot_arrives(rows: list[Row]) -> None:
        await replay(rows)
        monkeypatch.setattr(old.replay, "_replay", replay)
        holds(new, 0b11)
        monkeypatch.setattr("stateroom.sessions.protocol.replay.REST_SECONDS", 60)
        assert not await new.replay.turn()

    await fleet.call("SET", MARK, 0)
    monkeypatch.setattr(old.replay, "_replay", slot_arrives)
    with pytest.raises(StoreUnavailable, match="slots changed"):
        await old.replay.turn()
    assert await mark(fleet) == 0
    assert await slots(fleet) == 0b11


async def test_many_rows_wait_until_the_slots_have_stopped_moving(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await joined(fleet, 0b01)
    session = await ghost(fleet, worker)
    late = await joined(fleet, 0b01)
    monkeypatch.setattr("stateroom.sessions.protocol.replay.REST_SECONDS", 60)
    holds(late, 0b11)
    for _ in range(2):
        assert not await late.replay.turn()
        assert await mark(fleet) == 0
        assert late.manager.store_state() == "unsettled"
    monkeypatch.setattr("stateroom.sessions.protocol.replay.REST_SECONDS", 0)
    holds(late, 0b111)
    await late.settle()
    assert not await late.store.exists(record_of(session).ref)
