"""What happens first when a session ends, and when the end is acknowledged: over fakes, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stateroom.backend.near_cache import KNOWN_SECONDS
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.model.deployment import Current
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.session import record_of
from stateroom.sessions.protocol.rotations import Rotations
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS

from ..virtual import Clock
from . import rotations
from .fleet import AT_ONCE_SECONDS, FakeFleet, Worker, fake_fleet, is_trusted, took

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def fleet(clock: Clock) -> AsyncIterator[FakeFleet]:
    async with fake_fleet() as made:
        yield made


async def nothing(*_: object) -> None:
    return


async def test_the_row_is_committed_before_anything_is_deleted(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await fleet.join()
    session, _ = await worker.sign_in()
    at, end = record_of(session).ref, worker.store.delete
    seen: list[tuple[str | None, bool]] = []

    async def noted(ending: SessionRef, **named: Any) -> Any:
        seen.append((await fleet.reason(ending), await worker.store.exists(ending)))
        return await end(ending, **named)

    monkeypatch.setattr(worker.store, "delete", noted)
    await worker.manager.end(session)
    assert seen == [("logout", True)]
    assert not await worker.store.exists(at)


async def test_an_end_is_acknowledged_at_once_when_settled_and_a_lease_later_when_not(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    first, _ = await worker.sign_in()
    second, _ = await worker.sign_in()
    assert await took(worker.manager.end(first)) < AT_ONCE_SECONDS
    worker.unsettle()
    assert LEASE_SECONDS - 0.05 <= await took(worker.manager.end(second)) < LEASE_SECONDS + 0.3
    assert await worker.copies() == []


async def test_a_connection_that_changes_while_it_deletes_confirms_nothing(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await fleet.join()
    session, _ = await worker.sign_in()
    end = worker.store.delete

    async def and_change(at: SessionRef, **_: Any) -> Any:
        ended = await end(at)
        worker.client.standing("").connected()
        return ended

    monkeypatch.setattr(worker.store, "delete", and_change)
    assert await took(worker.manager.end(session)) >= LEASE_SECONDS - 0.05


async def test_an_anonymous_visitors_end_waits_for_no_lease(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    session = await worker.manager.create(None, data={"cart": 1})
    worker.unsettle()
    assert await took(worker.manager.end(session)) < AT_ONCE_SECONDS
    assert await worker.copies() == []


async def test_with_copies_an_end_is_acknowledged_when_no_worker_uses_one(fleet: FakeFleet) -> None:
    worker = await fleet.join(session_cache_max_age=30)
    session, _ = await worker.sign_in()
    assert KNOWN_SECONDS <= await took(worker.manager.end(session)) < AT_ONCE_SECONDS
    assert await worker.copies() == []


async def test_by_the_time_of_the_answer_no_worker_trusts_the_session(fleet: FakeFleet) -> None:
    """Not even one whose store is settled, and has the session again from somewhere."""
    ending, other = await fleet.join(), await fleet.join()
    session, value = await ending.sign_in()
    at, key = record_of(session).ref, ending.store.key(record_of(session).ref)
    assert is_trusted(await other.manager.load(value))
    copy = await fleet.call("DUMP", key)
    await ending.manager.end(session)
    await fleet.call("RESTORE", key, 0, copy)
    await other.tail.catch_up()
    assert await other.store.exists(at), "the store still has it: it is the journal that counts"
    loaded = await other.manager.load(value)
    assert loaded.ended == "logout"
    assert not await other.store.exists(at)


async def test_another_users_end_of_a_foreign_handle_hides_no_logout(fleet: FakeFleet) -> None:
    """A user may end a handle that cannot be looked up: that row is about nobody's session."""
    worker, other = await fleet.join(), await fleet.join()
    session, value = await worker.sign_in("ada")
    at, key = record_of(session).ref, worker.store.key(record_of(session).ref)
    await fleet.end_by_row(SessionRef("sbob", at.handle), "revoked")
    await worker.settle()
    assert is_trusted(await worker.manager.load(value))
    copy = await fleet.call("DUMP", key)
    await worker.manager.end(session)
    await fleet.call("RESTORE", key, 0, copy)
    for each in (worker, other):
        await each.tail.catch_up()
        assert (await each.manager.load(value)).ended == "logout"


async def test_without_journal_and_unsettled_nothing_is_ended_and_nothing_deleted(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in()
    worker.line.is_cut = True
    worker.unsettle()
    with pytest.raises(DatabaseUnavailable):
        await worker.manager.end(session)
    assert worker.metric("revocations_pending") == 0
    worker.line.is_cut = False
    await worker.settle()
    assert is_trusted(await worker.manager.load(value))


async def test_where_the_journal_is_required_a_refused_end_deletes_nothing(fleet: FakeFleet) -> None:
    worker = await fleet.join(journal_required=True)
    session, _ = await worker.sign_in()
    at = record_of(session).ref
    worker.line.is_cut = True
    with pytest.raises(DatabaseUnavailable):
        await worker.manager.end(session)
    assert await worker.store.exists(at)


async def test_what_waits_for_the_journal_is_not_restored_by_a_worker_that_has_one(fleet: FakeFleet) -> None:
    ending, other = await fleet.join(), await fleet.join()
    session, value = await ending.sign_in()
    ending.line.is_cut = True
    await ending.manager.end(session)
    await other.settle()
    assert not is_trusted(await other.manager.load(value))
    ending.line.is_cut = False
    await ending.ends.flush()
    await other.tail.catch_up()
    assert (await other.manager.load(value)).ended == "logout"
    assert not await other.store.exists(record_of(session).ref)


async def test_what_waits_for_the_journal_goes_on_waiting_until_it_is_written(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in()
    at = record_of(session).ref
    worker.line.is_cut = True
    await worker.manager.end(session)
    with pytest.raises(DatabaseUnavailable):
        await worker.ends.flush()
    assert worker.metric("revocations_pending") == 1
    assert not is_trusted(await worker.manager.load(value))
    worker.line.is_cut = False
    await worker.ends.flush()
    assert worker.metric("revocations_pending") == 0
    assert await fleet.reason(at) == "logout"
    assert (await worker.manager.load(value)).ended == "logout"
    await worker.ends.flush()
    assert [row.handle for row in await fleet.journal.newest(10)] == [at.handle], "written once"


@pytest.mark.parametrize("step", ["prepare_rotation", "commit_rotation", "claim_rotation"])
@pytest.mark.parametrize("is_before", [True, False])
async def test_a_logout_at_any_step_of_a_rotation_leaves_nothing_signed_in(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch, step: str, *, is_before: bool
) -> None:
    await rotations.logout_at(fleet, monkeypatch, step, is_before=is_before)


@pytest.mark.parametrize("step", ["prepare_rotation", "commit_rotation", "claim_rotation"])
@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("knows_tombstone", [True, False])
async def test_a_logout_without_the_journal_at_any_step_of_a_rotation_leaves_nothing_signed_in(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch, step: str, *, is_before: bool, knows_tombstone: bool
) -> None:
    """At the latest when the journal has it: the rotation may not have been able to ask for the tombstone."""
    if not knows_tombstone:
        monkeypatch.setattr(Rotations, "_check_no_tombstone", nothing)
    await rotations.logout_at(fleet, monkeypatch, step, is_before=is_before, has_journal=False)


@pytest.mark.parametrize("step", ["prepare_rotation", "commit_rotation", "claim_rotation"])
@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("kinds", rotations.KINDS)
async def test_of_two_rotations_of_a_session_one_wins_whichever_step_the_other_comes_at(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch, step: str, kinds: tuple[str, str], *, is_before: bool
) -> None:
    await rotations.another_at(fleet, monkeypatch, step, kinds, is_before=is_before)


@pytest.mark.parametrize("rotations_between", [1, 2])
async def test_a_logout_with_an_id_from_before_ends_what_rotations_have_made_of_it(
    fleet: FakeFleet, rotations_between: int
) -> None:
    worker, other = await fleet.join(), await fleet.join()
    session, old_value = await worker.sign_in()
    parallel = await other.manager.load(old_value)
    for _ in range(rotations_between):
        await worker.manager.rotate(session)
    value = worker.manager.seal(session)
    assert is_trusted(await other.manager.load(value))
    await other.manager.end(parallel)
    for each in (worker, other):
        await each.tail.catch_up()
        assert (await each.manager.load(value)).ended == "logout"
    assert await worker.copies() == []


async def _after_a_restart(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker that comes when so much else has ended that its tail begins later, and the store was told of what was before."""
    for name in ("tail.ROWS_AT_START", "read_numbers.GAPS_LOOKED_FOR"):
        monkeypatch.setattr(f"stateroom.sessions.journal.{name}", 3)
    for number in range(10):
        await fleet.end_by_row(SessionRef("sbob", f"h{number}"))
    worker = await fleet.join()
    assert worker.tail.floor > 1
    return worker


async def test_a_slow_sign_in_does_not_outlive_a_sign_out_everywhere_nor_a_restart(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = await fleet.join(), await fleet.join()

    async def before(_: str) -> Current:
        return Current(0, "")

    other.replay.sweeps = True
    await other.manager.revoke_all("ada")
    await other.settle()
    monkeypatch.setattr(worker.parts.journal, "current", before)
    session, value = await worker.sign_in("ada")
    fresh = await _after_a_restart(fleet, monkeypatch)
    assert (await fresh.manager.load(value)).ended == "revoked"
    assert not await fresh.store.exists(record_of(session).ref), "and the store is rid of it"


async def test_a_session_whose_index_was_evicted_is_ended_with_the_others_and_after_a_restart(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in("ada")
    worker.replay.sweeps = True
    await fleet.call("DEL", worker.store.user_key("sada"))
    await worker.manager.revoke_all("ada")
    await worker.settle()
    assert await worker.store.exists(record_of(session).ref)
    fresh = await _after_a_restart(fleet, monkeypatch)
    assert (await fresh.manager.load(value)).ended == "revoked"
    assert not await fresh.store.exists(record_of(session).ref)


async def test_a_session_of_the_generation_that_was_raised_is_vouched_for_and_an_older_one_is_not(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    await worker.manager.revoke_all("ada")
    session, _ = await worker.sign_in("ada")
    await worker.settle()
    standing = worker.client.standing("")

    def vouches(generation: int) -> bool:
        now = worker.tail.read_at
        return worker.parts.trust.vouches(standing.glimpse, record_of(session).ref, generation, "", now)

    generation = record_of(session).generation
    assert (vouches(generation), vouches(generation - 1)) == (True, False)
