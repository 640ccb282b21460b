"""Ends on real stores and both kinds of database: what happens first, and when it is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import Conflict, DatabaseUnavailable, SessionEnded, Unavailable
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.wiring import wire
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

PERSISTENT = {"appendonly": "yes", "appendfsync": "always"}
PREFIX = "test"
KEY = new_key()
NEVER = 2**50
AT_ONCE_SECONDS = LEASE_SECONDS / 2


class Line:
    """One worker's way to the database; it can be cut."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_cut = False

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        self._check()
        async with self._database.connect() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        self._check()
        async with self._database.begin() as connection:
            yield connection

    def _check(self) -> None:
        if self.is_cut:
            raise DatabaseUnavailable("cut, for a test")


class Worker:
    """A worker without loops of its own: a test takes each step."""

    def __init__(self, made: Settings, client: RedisClient, database: Database, metrics: Metrics) -> None:
        self.metrics = metrics
        self.client = client
        self.line = Line(database)
        self.parts = wire(made, metrics, client, Journal(cast("Database", self.line)))
        self.manager = SessionManager(self.parts)
        self.store, self.tail, self.replay, self.ends = self.parts.store, self.parts.tail, self.parts.replay, self.parts.ends

    async def settle(self) -> None:
        """Until this worker counts its store as settled."""

        async def is_settled() -> bool:
            with contextlib.suppress(Unavailable):
                await self.tail.catch_up()
                await self.replay.turn()
            return self.manager.store_state() == "settled"

        await until(is_settled, "the store is settled")

    def unsettle(self) -> None:
        """As after a new connection, before the journal was replayed over it."""
        for progress in self.replay._progress.values():
            progress.covered = None
        assert self.manager.store_state() == "unsettled"

    async def sign_in(self, user: str = "ada", **data: Any) -> tuple[Session, str]:
        """A new session, and its sealed value."""
        session = await self.manager.create(user, data=data)
        return session, self.manager.seal(session)

    async def copies(self) -> list[bytes]:
        """The keys of all sessions, pending and unclaimed ones too."""
        found: list[bytes] = await self.client.execute("", "KEYS", f"{PREFIX}:*:s:*")
        return found

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"stateroom_{name}")
        assert value is not None
        return value


class Fleet:
    """Workers on one store and one database."""

    def __init__(self, node: Node, database: Database, stack: contextlib.AsyncExitStack) -> None:
        self.node = node
        self.journal = Journal(database)
        self._database = database
        self._stack = stack

    async def join(self, **values: Any) -> Worker:
        """One more worker, settled."""
        own = {
            "redis_host": self.node.host, "redis_port": self.node.port, "redis_key_prefix": PREFIX, "cookie_keys": KEY,
            "database_url": "sqlite:///not-opened.db",
        }  # fmt: skip
        made = settings(**(own | values))
        metrics = Metrics()
        client = make_client(made, metrics=metrics)
        self._stack.push_async_callback(client.aclose)
        await client.start()
        worker = Worker(made, client, self._database, metrics)
        self._stack.push_async_callback(worker.tail.aclose)
        self._stack.push_async_callback(worker.parts.lookup.aclose)
        await worker.settle()
        return worker

    async def end_by_row(self, at: SessionRef, reason: str = "logout") -> None:
        """Commit an end, as another worker does."""
        await self.journal.record([EndRow(at.user, at.handle, reason, 0, NEVER)])

    async def reason(self, at: SessionRef) -> str | None:
        return await self.journal.reason(at, 2**40)


@contextlib.asynccontextmanager
async def fleet_on(folder: Path, database: Database) -> AsyncIterator[Fleet]:
    async with (
        topology.single(folder / "store", options=PERSISTENT) as node,
        contextlib.AsyncExitStack() as stack,
    ):
        yield Fleet(node, database, stack)


def is_trusted(session: Session) -> bool:
    """Whether a handler would let this user in."""
    try:
        return session.is_signed_in
    except Unavailable:
        return False


async def took(step: Awaitable[object]) -> float:
    """Seconds of the loop's clock."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await step
    return loop.time() - began


@pytest.fixture
async def fleet(tmp_path: Path, database: Database) -> AsyncIterator[Fleet]:
    async with fleet_on(tmp_path, database) as made:
        yield made


async def test_the_row_is_committed_before_anything_is_deleted(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await fleet.join()
    session, _ = await worker.sign_in()
    at, end = record_of(session).ref, worker.store.delete
    seen: list[tuple[str | None, bool]] = []

    async def noted(ending: SessionRef) -> Any:
        seen.append((await fleet.reason(ending), await worker.store.exists(ending)))
        return await end(ending)

    monkeypatch.setattr(worker.store, "delete", noted)
    await worker.manager.end(session)
    assert seen == [("logout", True)]
    assert not await worker.store.exists(at)


async def test_an_end_is_acknowledged_at_once_when_settled_and_a_lease_later_when_not(fleet: Fleet) -> None:
    worker = await fleet.join()
    first, _ = await worker.sign_in()
    second, _ = await worker.sign_in()
    assert await took(worker.manager.end(first)) < AT_ONCE_SECONDS
    worker.unsettle()
    assert LEASE_SECONDS - 0.05 <= await took(worker.manager.end(second)) < LEASE_SECONDS + 0.3
    assert await worker.copies() == []


async def test_a_connection_that_changes_while_it_deletes_confirms_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await fleet.join()
    session, _ = await worker.sign_in()
    end = worker.store.delete

    async def and_change(at: SessionRef, **_: Any) -> Any:
        ended = await end(at)
        worker.client.standing("").connected()
        return ended

    monkeypatch.setattr(worker.store, "delete", and_change)
    assert await took(worker.manager.end(session)) >= LEASE_SECONDS - 0.05


async def test_an_anonymous_visitors_end_waits_for_no_lease(fleet: Fleet) -> None:
    worker = await fleet.join()
    session = await worker.manager.create(None, data={"cart": 1})
    worker.unsettle()
    assert await took(worker.manager.end(session)) < AT_ONCE_SECONDS
    assert await worker.copies() == []


async def test_by_the_time_of_the_answer_no_worker_trusts_the_session(fleet: Fleet) -> None:
    """Not even one whose store is settled, and has the session again from somewhere."""
    ending, other = await fleet.join(), await fleet.join()
    session, value = await ending.sign_in()
    at, key = record_of(session).ref, ending.store.key(record_of(session).ref)
    assert is_trusted(await other.manager.load(value))
    copy = await fleet.node.call("DUMP", key)
    await ending.manager.end(session)
    await fleet.node.call("RESTORE", key, 0, copy)
    await other.tail.catch_up()
    assert await other.store.exists(at), "the store still has it: it is the journal that counts"
    loaded = await other.manager.load(value)
    assert loaded.ended == "logout"
    assert not await other.store.exists(at)


async def test_another_users_end_of_a_foreign_handle_hides_no_logout(fleet: Fleet) -> None:
    """A user may end a handle that cannot be looked up: that row is about nobody's session."""
    worker, other = await fleet.join(), await fleet.join()
    session, value = await worker.sign_in("ada")
    at, key = record_of(session).ref, worker.store.key(record_of(session).ref)
    await fleet.end_by_row(SessionRef("sbob", at.handle), "revoked")
    await worker.settle()
    assert is_trusted(await worker.manager.load(value))
    copy = await fleet.node.call("DUMP", key)
    await worker.manager.end(session)
    await fleet.node.call("RESTORE", key, 0, copy)
    for each in (worker, other):
        await each.tail.catch_up()
        assert (await each.manager.load(value)).ended == "logout"


async def test_without_journal_and_unsettled_nothing_is_ended_and_nothing_deleted(fleet: Fleet) -> None:
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


async def test_where_the_journal_is_required_a_refused_end_deletes_nothing(fleet: Fleet) -> None:
    worker = await fleet.join(journal_required=True)
    session, _ = await worker.sign_in()
    at = record_of(session).ref
    worker.line.is_cut = True
    with pytest.raises(DatabaseUnavailable):
        await worker.manager.end(session)
    assert await worker.store.exists(at)


async def test_what_waits_for_the_journal_is_not_restored_by_a_worker_that_has_one(fleet: Fleet) -> None:
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


async def test_what_waits_for_the_journal_goes_on_waiting_until_it_is_written(fleet: Fleet) -> None:
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


async def test_without_the_journal_it_takes_the_replica_that_should_have_the_end(
    fleet: Fleet, tmp_path: Path, database: Database
) -> None:
    follows = {"replicaof": f"{fleet.node.host} {fleet.node.port}"}
    async with topology.single(tmp_path / "replica", options=follows) as replica:

        async def is_linked() -> bool:
            return bool((await replica.call("ROLE"))[3] == b"connected")

        await until(is_linked, "the replica follows")
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
        await connection.execute(text("INSERT INTO fleet (id) VALUES ('!written')"))

    async def refuse(connection: AsyncConnection) -> None:
        await write(connection)
        raise Conflict

    with pytest.raises(Conflict):
        await worker.manager.revoke_all("ada", keep=keep, in_transaction=refuse)
    assert await fleet.journal.known_fleet_id() != "!written"
    for each in (value, other):
        assert is_trusted(await worker.manager.load(each))
    await worker.manager.revoke_all("ada", keep=keep, in_transaction=write)
    assert await fleet.journal.known_fleet_id() == "!written"
    assert not is_trusted(await worker.manager.load(other))


@pytest.mark.parametrize("step", ["prepare_rotation", "commit_rotation", "claim_rotation"])
@pytest.mark.parametrize("is_before", [True, False])
async def test_a_logout_at_any_step_of_a_rotation_leaves_nothing_signed_in(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, step: str, *, is_before: bool
) -> None:
    """By another worker, before or after each step. After the last there is a successor, which ends too."""
    worker, other = await fleet.join(), await fleet.join()
    session, old_value = await worker.sign_in()
    parallel = await other.manager.load(old_value)
    target: Any = worker.ends if step == "commit_rotation" else worker.store
    real = getattr(target, step)

    async def with_logout(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            await other.manager.end(parallel)
        result = await real(*args, **kwargs)
        if not is_before:
            await other.manager.end(parallel)
        return result

    monkeypatch.setattr(target, step, with_logout)
    values = [old_value]
    with contextlib.suppress(SessionEnded):
        await worker.manager.rotate(session, signs_in=True)
        values.append(worker.manager.seal(session))
    monkeypatch.undo()
    for each in (worker, other):
        await each.settle()
        for value in values:
            assert not is_trusted(await each.manager.load(value))
    assert await worker.copies() == []


@pytest.mark.parametrize("step", ["prepare_rotation", "commit_rotation", "claim_rotation"])
@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("kinds", [("rotate", "rotate"), ("rotate", "revoke"), ("revoke", "rotate"), ("revoke", "revoke")])
async def test_of_two_rotations_of_a_session_one_wins_whichever_step_the_other_comes_at(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, step: str, kinds: tuple[str, str], *, is_before: bool
) -> None:
    """A form that was sent twice makes one session of one; a logout with the id from before ends it.

    A rotation may also end the user's other sessions: what another rotation makes of this one is none of those.
    """
    worker, other = await fleet.join(), await fleet.join()
    session, old_value = await worker.sign_in()
    parallel = await other.manager.load(old_value)
    target: Any = worker.ends if step == "commit_rotation" else worker.store
    real = getattr(target, step)
    rotated = []

    async def rotate(by: Worker, session: Session, kind: str) -> None:
        with contextlib.suppress(SessionEnded):
            if kind == "rotate":
                await by.manager.rotate(session, signs_in=True)
            else:
                await by.manager.revoke_all("ada", keep=session)
            rotated.append((session.degraded, by.manager.seal(session)))

    async def with_another(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            await rotate(other, parallel, kinds[1])
        result = await real(*args, **kwargs)
        if not is_before:
            await rotate(other, parallel, kinds[1])
        return result

    monkeypatch.setattr(target, step, with_another)
    await rotate(worker, session, kinds[0])
    monkeypatch.undo()
    await worker.settle()  # whatever the journal says has come to the store by then
    assert [degraded for degraded, _ in rotated] == [False]
    assert is_trusted(await worker.manager.load(rotated[0][1]))
    await other.manager.end(await other.manager.load(rotated[0][1]))
    assert await worker.copies() == []


async def _after_a_restart(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker that comes when so much else has ended that its tail begins later, and the store was told of what was before."""
    for name in ("ROWS_AT_START", "GAPS_LOOKED_FOR"):
        monkeypatch.setattr(f"stateroom.sessions.journal.tail.{name}", 3)
    for number in range(10):
        await fleet.end_by_row(SessionRef("sbob", f"h{number}"))
    worker = await fleet.join()
    assert worker.tail.floor > 1
    return worker


async def test_a_slow_sign_in_does_not_outlive_a_sign_out_everywhere_nor_a_restart(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await fleet.join()

    async def before(_: str) -> int:
        return 0

    worker.replay.sweeps = True
    await worker.manager.revoke_all("ada")
    await worker.settle()
    monkeypatch.setattr(worker.parts.journal, "generation", before)
    session, value = await worker.sign_in("ada")
    fresh = await _after_a_restart(fleet, monkeypatch)
    assert (await fresh.manager.load(value)).ended == "revoked"
    assert not await fresh.store.exists(record_of(session).ref), "and the store is rid of it"


async def test_a_session_whose_index_was_evicted_is_ended_with_the_others_and_after_a_restart(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in("ada")
    worker.replay.sweeps = True
    await fleet.node.call("DEL", worker.store.user_key("sada"))
    await worker.manager.revoke_all("ada")
    await worker.settle()
    assert await worker.store.exists(record_of(session).ref)
    fresh = await _after_a_restart(fleet, monkeypatch)
    assert (await fresh.manager.load(value)).ended == "revoked"
    assert not await fresh.store.exists(record_of(session).ref)


async def test_a_session_of_the_generation_that_was_raised_is_vouched_for_and_an_older_one_is_not(fleet: Fleet) -> None:
    worker = await fleet.join()
    await worker.manager.revoke_all("ada")
    session, _ = await worker.sign_in("ada")
    await worker.settle()
    standing = worker.client.standing("")

    def vouches(generation: int) -> bool:
        now = worker.tail.read_at
        return worker.parts.trust.vouches(standing.glimpse, record_of(session).ref, generation, now)

    generation = record_of(session).generation
    assert (vouches(generation), vouches(generation - 1)) == (True, False)


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
    assert await fleet.journal.generation("sada") == 4
    assert (await fresh.manager.load(value)).ended == "revoked"
    if keeps:
        assert record_of(kept).generation == 4
        assert is_trusted(await fresh.manager.load(fresh.manager.seal(kept)))
