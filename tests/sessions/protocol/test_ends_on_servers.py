"""Ends on real stores and both kinds of database: what the servers decide. What our own code decides: `test_ends.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.database import Database
from stateroom.drills import node, topology
from stateroom.errors import Conflict, DatabaseUnavailable, Unavailable
from stateroom.sessions.model.session import record_of
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS

from . import rotations
from .fleet import Fleet, fleet_on, is_trusted, took


@pytest.fixture
async def fleet(tmp_path: Path, database: Database) -> AsyncIterator[Fleet]:
    async with fleet_on(tmp_path, database) as made:
        yield made


async def test_without_the_journal_it_takes_the_replica_that_should_have_the_end(
    fleet: Fleet, tmp_path: Path, database: Database
) -> None:
    follows = {"replicaof": f"{fleet.node.host} {fleet.node.port}"}
    async with topology.single(tmp_path / "replica", options=follows) as replica:

        async def is_linked() -> bool:
            return bool((await replica.call("ROLE"))[3] == b"connected")

        await node.until(is_linked, "the replica follows")
        worker = await fleet.join(redis_write_replicas=1, redis_write_replicas_timeout=0.3)
        first, _ = await worker.sign_in()
        second, _ = await worker.sign_in()
        worker.line.is_cut = True
        await worker.manager.end(first)
        assert worker.metric("revocations_pending") == 1
        replica.pause()
        try:
            with pytest.raises(DatabaseUnavailable, match="too few replicas"):
                await worker.manager.end(second)
        finally:
            replica.resume()
        assert worker.metric("revocations_pending") == 1


async def test_a_logout_of_an_old_cookie_counts_while_redis_is_really_away(fleet: Fleet) -> None:
    worker = await fleet.join(degraded_max_age=5)
    session, value = await worker.sign_in()
    at = record_of(session).ref
    worker.manager._parts.clock.skew_ms += 10_000
    await fleet.node.kill()
    unknown = await worker.manager.load(value)
    with pytest.raises(Unavailable):
        _ = unknown.is_signed_in
    assert await took(worker.manager.end(unknown)) >= LEASE_SECONDS - 0.05
    assert await fleet.reason(at) == "logout"
    await fleet.node.start()
    await worker.settle()
    assert (await worker.manager.load(value)).ended == "logout"


async def test_revoking_what_cannot_be_looked_up_is_recorded_and_what_is_not_there_is_not(fleet: Fleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in("ada")
    assert await worker.manager.revoke("ada", "A" * 22) is False
    assert await worker.manager.revoke("bob", record_of(session).ref.handle) is False
    assert await fleet.journal.newest(10) == []
    await fleet.node.kill()
    assert await worker.manager.revoke("ada", record_of(session).ref.handle) is None
    assert await fleet.reason(record_of(session).ref) == "revoked"
    await fleet.node.start()
    await worker.settle()
    assert (await worker.manager.load(value)).ended == "revoked"
    assert await worker.copies() == []


async def test_ending_all_of_a_user_while_redis_is_away_holds_when_it_is_back(fleet: Fleet) -> None:
    worker = await fleet.join()
    _, other = await worker.sign_in("ada")
    mine, old_value = await worker.sign_in("ada")
    _, bob = await worker.sign_in("bob")
    await fleet.node.kill()
    assert await took(worker.manager.revoke_all("ada", keep=mine)) >= LEASE_SECONDS - 0.05
    assert record_of(mine).generation == 1
    new_value = worker.manager.seal(mine)
    await fleet.node.start()
    await worker.settle()
    assert (await worker.manager.load(other)).ended == "revoked"
    assert not is_trusted(await worker.manager.load(old_value))
    assert is_trusted(await worker.manager.load(new_value))
    assert is_trusted(await worker.manager.load(bob))


@pytest.mark.parametrize("keeps", [True, False])
async def test_what_is_written_with_an_end_of_all_stands_or_falls_with_it(fleet: Fleet, *, keeps: bool) -> None:
    worker = await fleet.join()
    mine, value = await worker.sign_in()
    _, other = await worker.sign_in()
    keep = mine if keeps else None

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO session_generations (user_key, generation) VALUES ('written', 7)"))

    async def refuse(connection: AsyncConnection) -> None:
        await write(connection)
        raise Conflict

    with pytest.raises(Conflict):
        await worker.manager.revoke_all("ada", keep=keep, in_transaction=refuse)
    assert (await fleet.journal.current("written")).generation == 0
    for each in (value, other):
        assert is_trusted(await worker.manager.load(each))
    await worker.manager.revoke_all("ada", keep=keep, in_transaction=write)
    assert (await fleet.journal.current("written")).generation == 7
    assert not is_trusted(await worker.manager.load(other))


@pytest.mark.parametrize("is_before", [True, False])
async def test_a_logout_at_the_commit_of_a_rotation_leaves_nothing_signed_in(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, is_before: bool
) -> None:
    await rotations.logout_at(fleet, monkeypatch, "commit_rotation", is_before=is_before)


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("kinds", rotations.KINDS)
async def test_of_two_rotations_of_a_session_one_wins_when_they_meet_at_the_commit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, str], *, is_before: bool
) -> None:
    await rotations.another_at(fleet, monkeypatch, "commit_rotation", kinds, is_before=is_before)


@pytest.mark.parametrize("keeps", [True, False])
async def test_ending_all_of_a_user_holds_where_the_database_has_forgotten_a_generation(
    fleet: Fleet, database: Database, *, keeps: bool
) -> None:
    """It was restored from a backup, or a standby that lagged was promoted."""
    worker = await fleet.join()
    for _ in range(3):
        await worker.manager.revoke_all("ada")
    mine, _ = await worker.sign_in("ada")
    other, value = await worker.sign_in("ada")
    assert record_of(other).generation == 3
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM session_generations"))
        await connection.execute(text("DELETE FROM session_ends"))
    fresh = await fleet.join()
    kept = await fresh.manager.load(worker.manager.seal(mine))
    await fresh.manager.revoke_all("ada", keep=kept if keeps else None)
    assert (await fleet.journal.current("sada")).generation == 4
    assert (await fresh.manager.load(value)).ended == "revoked"
    if keeps:
        assert record_of(kept).generation == 4
        assert is_trusted(await fresh.manager.load(fresh.manager.seal(kept)))
