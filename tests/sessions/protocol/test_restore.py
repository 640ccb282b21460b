"""Sessions that Redis lost come back, on real stores and both kinds of database; nobody does who should be out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import get_session, sign_in, testing
from stateroom.database import Database
from stateroom.errors import Unavailable
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.session import Session, record_of
from stateroom.settings import Settings
from stateroom.setup import setup

from ...patience import settled
from .fleet import Fleet, Worker, fleet_on, is_trusted


@pytest.fixture
async def fleet(tmp_path: Path, database: Database) -> AsyncIterator[Fleet]:
    async with fleet_on(tmp_path, database) as made:
        yield made


def outcome(session: Session) -> str:
    """What a request learns of it."""
    try:
        if not session.is_signed_in:
            return f"ended: {session.ended}"
    except Unavailable:
        return "unknown"
    return "degraded" if session.degraded else "restored" if session.restored else "stored"


async def is_pending(worker: Worker, at: SessionRef) -> bool:
    key = worker.store.key(at)
    return bool(await worker.client.execute(key, "HEXISTS", key, "p"))


async def make_pending(worker: Worker, at: SessionRef) -> None:
    key = worker.store.key(at)
    await worker.client.execute(key, "HSET", key, "p", 1)


async def test_fifty_first_requests_on_two_workers_bring_back_one_session(fleet: Fleet) -> None:
    workers = [await fleet.join(), await fleet.join()]
    session, value = await workers[0].sign_in("ada", cart=1)
    await fleet.node.call("FLUSHALL")
    loaded = await asyncio.gather(*(worker.manager.load(value) for worker in workers * 25))
    assert {outcome(each) for each in loaded} <= {"restored", "stored"}
    assert [outcome(each) for each in loaded].count("restored") == 1
    assert sum(worker.metric("sessions_restored_total") for worker in workers) == 1
    assert await workers[0].store.handles("sada") == [record_of(session).ref.handle]
    assert await workers[0].store.count_active() == 1
    assert not await is_pending(workers[0], record_of(session).ref)
    assert all("cart" not in each for each in loaded)


async def test_what_comes_back_is_the_same_session_but_for_its_data(fleet: Fleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in("ada", cart=1)
    before = (
        record_of(session).token,
        session.id,
        session.created_at,
        session.auth_time,
        record_of(session).deadline_ms,
        record_of(session).generation,
    )
    await fleet.node.call("FLUSHALL")
    again = await worker.manager.load(value)
    assert outcome(again) == "restored"
    assert (
        record_of(again).token,
        again.id,
        again.created_at,
        again.auth_time,
        record_of(again).deadline_ms,
        record_of(again).generation,
    ) == before
    assert dict(again) == {}
    again["cart"] = 2
    await worker.manager.save(again)
    assert (await worker.manager.load(value))["cart"] == 2


async def test_a_pending_session_is_good_only_once_the_journal_was_asked(fleet: Fleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in()
    assert outcome(await worker.manager.load(value)) == "stored"
    await make_pending(worker, record_of(session).ref)
    worker.line.is_cut = True
    assert outcome(await worker.manager.load(value)) == "unknown"
    assert await is_pending(worker, record_of(session).ref)
    worker.line.is_cut = False
    assert outcome(await worker.manager.load(value)) == "stored"
    assert not await is_pending(worker, record_of(session).ref)


async def test_a_pending_session_that_the_journal_ends_is_deleted(fleet: Fleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in()
    await make_pending(worker, record_of(session).ref)
    await fleet.end_by_row(record_of(session).ref)
    assert outcome(await worker.manager.load(value)) == "ended: logout"
    assert await worker.copies() == []


@pytest.mark.parametrize("is_generation", [False, True])
async def test_an_end_between_the_store_and_the_second_look_wins(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, is_generation: bool
) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in("ada")
    at, restore = record_of(session).ref, worker.store.restore
    await fleet.node.call("FLUSHALL")

    async def and_end(*args: Any, **kwargs: Any) -> bool | None:
        stored = await restore(*args, **kwargs)
        assert await is_pending(worker, at)
        if is_generation:
            await fleet.journal.raise_generation("sada", "password", ended_at=0)
        else:
            await fleet.end_by_row(at, "revoked")
        return stored

    monkeypatch.setattr(worker.store, "restore", and_end)
    assert outcome(await worker.manager.load(value)) == f"ended: {'password' if is_generation else 'revoked'}"
    assert await worker.copies() == []
    assert worker.metric("sessions_restored_total") == 0


async def test_a_journal_that_goes_before_the_second_look_leaves_it_pending(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, other = await fleet.join(), await fleet.join()
    session, value = await worker.sign_in()
    restore = worker.store.restore
    await fleet.node.call("FLUSHALL")

    async def and_cut(*args: Any, **kwargs: Any) -> bool | None:
        stored = await restore(*args, **kwargs)
        worker.line.is_cut = True
        return stored

    monkeypatch.setattr(worker.store, "restore", and_cut)
    assert outcome(await worker.manager.load(value)) == "unknown"
    assert await is_pending(worker, record_of(session).ref)
    assert outcome(await other.manager.load(value)) == "stored", "the next request clears up"
    assert not await is_pending(worker, record_of(session).ref)


async def test_a_session_that_redis_loses_again_while_it_comes_back_signs_nobody_out(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover between the steps, say: nobody has ended it, so that no answer may say so."""
    worker = await fleet.join()
    _, value = await worker.sign_in()
    confirm = worker.store.confirm
    await fleet.node.call("FLUSHALL")

    async def lost_again(at: SessionRef) -> bool:
        await fleet.node.call("FLUSHALL")
        return await confirm(at)

    monkeypatch.setattr(worker.store, "confirm", lost_again)
    assert outcome(await worker.manager.load(value)) in {"degraded", "unknown"}
    monkeypatch.undo()
    assert outcome(await worker.manager.load(value)) == "restored"


async def test_a_miss_that_the_journal_cannot_explain_is_unknown_and_not_signed_out(fleet: Fleet) -> None:
    worker = await fleet.join()
    _, value = await worker.sign_in()
    await fleet.node.call("FLUSHALL")
    worker.line.is_cut = True
    assert outcome(await worker.manager.load(value)) == "unknown"
    assert await worker.copies() == []
    worker.line.is_cut = False
    assert outcome(await worker.manager.load(value)) == "restored"


async def test_a_miss_in_a_store_that_is_not_settled_is_answered_from_the_cookie(fleet: Fleet) -> None:
    worker = await fleet.join()
    session, value = await worker.sign_in()
    await fleet.node.call("FLUSHALL")
    worker.unsettle()
    loaded = await worker.manager.load(value)
    assert (outcome(loaded), loaded.id, loaded.user_id) == ("degraded", session.id, "ada")
    assert await worker.copies() == []
    await worker.settle()
    assert outcome(await worker.manager.load(value)) == "restored"


async def test_a_store_that_takes_no_writes_gets_the_session_later(fleet: Fleet) -> None:
    worker = await fleet.join()
    _, value = await worker.sign_in()
    await fleet.node.call("FLUSHALL")
    await fleet.node.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert outcome(await worker.manager.load(value)) == "degraded"
    assert await worker.copies() == []
    await fleet.node.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert outcome(await worker.manager.load(value)) == "restored"


async def test_a_sign_in_while_redis_is_really_away_is_stored_under_its_token(fleet: Fleet) -> None:
    worker, other = await fleet.join(), await fleet.join()
    await fleet.node.kill()
    session, value = await worker.sign_in()
    token, handle = record_of(session).token, record_of(session).ref.handle
    assert session.degraded
    await fleet.node.start()
    for each in (worker, other):
        await each.settle()
    loaded = await other.manager.load(value)
    assert outcome(loaded) == "restored"
    assert (record_of(loaded).token, record_of(loaded).ref.handle) == (token, handle)
    assert await worker.store.handles("sada") == [handle]
    assert outcome(await worker.manager.load(value)) == "stored"


async def test_degraded_mode_switched_off_brings_nothing_back_and_knows_nothing_alone(fleet: Fleet) -> None:
    worker = await fleet.join(degraded_max_age=0)
    _, value = await worker.sign_in()
    assert outcome(await worker.manager.load(value)) == "stored"
    await fleet.node.call("FLUSHALL")
    assert outcome(await worker.manager.load(value)) == "ended: expired"
    assert await worker.copies() == []
    await fleet.node.kill()
    assert outcome(await worker.manager.load(value)) == "unknown"


async def test_a_cookie_is_good_alone_on_the_worker_that_saw_it_and_on_no_other(fleet: Fleet) -> None:
    """As behind proxies that pass no cookie back, and for bearers: the value itself gets old."""
    saw, did_not = await fleet.join(degraded_max_age=60), await fleet.join(degraded_max_age=60)
    _, value = await saw.sign_in()
    for worker in (saw, did_not):
        worker.manager._parts.clock.skew_ms += 50_000
    assert outcome(await saw.manager.load(value)) == "stored"
    for worker in (saw, did_not):
        worker.manager._parts.clock.skew_ms += 50_000
    await fleet.node.call("FLUSHALL")
    assert outcome(await did_not.manager.load(value)) == "ended: expired"
    assert await saw.copies() == []
    assert outcome(await saw.manager.load(value)) == "restored"


async def test_a_renewal_that_this_worker_saw_carries_the_idle_lifetime_on(fleet: Fleet) -> None:
    worker = await fleet.join(session_max_age=100, degraded_max_age=100)
    renewed, renewed_value = await worker.sign_in()
    _, polled_value = await worker.sign_in()
    worker.manager._parts.clock.skew_ms += 60_000
    loaded = await worker.manager.load(renewed_value)
    assert await worker.manager.renew(loaded)
    assert outcome(await worker.manager.load(polled_value)) == "stored"
    worker.manager._parts.clock.skew_ms += 60_000
    await fleet.node.call("FLUSHALL")
    assert outcome(await worker.manager.load(renewed_value)) == "restored"
    assert outcome(await worker.manager.load(polled_value)) == "ended: expired"
    assert await worker.store.handles("sada") == [record_of(renewed).ref.handle]


async def test_a_session_past_its_absolute_deadline_does_not_come_back(fleet: Fleet) -> None:
    """Seen and renewed a moment before: nothing but its deadline is against it."""
    worker = await fleet.join(session_absolute_max_age=150, session_max_age=100, degraded_max_age=100)
    _, value = await worker.sign_in()
    for _ in range(2):
        worker.manager._parts.clock.skew_ms += 70_000
        assert await worker.manager.renew(await worker.manager.load(value))
    await fleet.node.call("FLUSHALL")
    worker.manager._parts.clock.skew_ms += 11_000
    assert outcome(await worker.manager.load(value)) == "ended: expired"
    assert await worker.copies() == []


async def test_what_was_sealed_before_the_time_of_redis_went_back_restores_nothing(fleet: Fleet) -> None:
    """Rule 14: it looks younger than it is, so its end may have left the journal already."""
    worker = await fleet.join(degraded_max_age=60)
    clock, key = worker.manager._parts.clock, worker.manager._parts.key_names.sweeper
    _, before = await worker.sign_in()
    assert outcome(await worker.manager.load(before)) == "stored"
    loaded_ms = clock.now_ms()
    while clock.now_ms() == loaded_ms:  # times are milliseconds: in one of them before and after are the same
        await asyncio.sleep(0)
    clock.offset_ms += 10_000  # as Redis' time was until now
    await clock.calibrate(worker.client, key)
    _, after = await worker.sign_in()
    assert outcome(await worker.manager.load(after)) == "stored"
    await fleet.node.call("FLUSHALL")
    assert outcome(await worker.manager.load(before)) == "ended: expired"
    assert outcome(await worker.manager.load(after)) == "restored"


async def test_a_session_that_was_seen_since_the_time_went_back_is_good_alone(fleet: Fleet) -> None:
    worker = await fleet.join(degraded_max_age=60)
    clock, key = worker.manager._parts.clock, worker.manager._parts.key_names.sweeper
    _, value = await worker.sign_in()
    clock.offset_ms += 10_000
    await clock.calibrate(worker.client, key)
    assert outcome(await worker.manager.load(value)) == "stored"
    await fleet.node.call("FLUSHALL")
    assert outcome(await worker.manager.load(value)) == "restored"


# Over HTTP


async def who(request: web.Request) -> web.Response:
    session = get_session(request)
    return web.json_response({"user": session.user_id if session.is_signed_in else None})


async def enter(request: web.Request) -> web.Response:
    await sign_in(request, "ada")
    return web.json_response({})


@pytest.mark.parametrize("is_poll", [True, False])
async def test_background_polls_do_not_carry_a_session_through_an_outage(
    fleet: Fleet, database_settings: Settings, *, is_poll: bool
) -> None:
    """Too long after the last click, and Redis is away: whether the session lives is not known."""
    app = web.Application()
    own = testing.settings(
        redis_host=fleet.node.host,
        redis_port=fleet.node.port,
        database_url=database_settings.database_url,
        state_dir=database_settings.state_dir,
        session_max_age=100,
        degraded_max_age=100,
    )
    setup(app, own)
    app.add_routes([web.get("/", who), web.post("/", enter)])
    headers = {"X-Session-Renew": "no"} if is_poll else {}
    async with TestClient(TestServer(app)) as client:
        await settled(app)
        async with client.post("/") as response:
            assert response.status == 200
        for _ in range(3):
            testing.clock(app).move(seconds=30)
            async with client.get("/", headers=headers) as response:
                assert (await response.json()) == {"user": "ada"}
        await fleet.node.kill()
        async with client.get("/", headers=headers) as response:
            assert (await response.json()) == {"user": "ada"}
        testing.clock(app).move(seconds=20)
        async with client.get("/", headers=headers) as response:
            assert response.status == (503 if is_poll else 200)


async def test_a_session_that_came_back_says_so_to_one_request(fleet: Fleet) -> None:
    worker = await fleet.join()
    _, value = await worker.sign_in()
    await fleet.node.call("FLUSHALL")
    assert [outcome(await worker.manager.load(value)) for _ in range(3)] == ["restored", "stored", "stored"]
    assert worker.metric("sessions_restored_total") == 1
    assert is_trusted(await worker.manager.load(value))
