"""What a session is while a store is away, and what becomes of a rotation then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ResponseError

from stateroom import SESSIONS, Unavailable, testing
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import DatabaseUnavailable, StoreUnavailable
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.session import Session
from stateroom.sessions.sealing.key_ring import OPENED_AT_MOST
from stateroom.setup import setup
from stateroom.telemetry import loops

from ...patience import settled
from ...servers import Servers


@dataclass
class Place:
    """One worker, settled on a server of its own, with an SQLite journal."""

    node: Node
    app: web.Application

    @property
    def manager(self) -> SessionManager:
        return self.app[SESSIONS]

    async def sign_in(self, user: str = "ada", **options: Any) -> tuple[str, Session]:
        session = await self.manager.create(user, **options)
        return self.manager.seal(session), session

    async def settled(self) -> None:
        await settled(self.app)

    @contextlib.contextmanager
    def journal_away(self) -> Any:
        async def away(*_: Any, **__: Any) -> Any:
            raise DatabaseUnavailable("away, for a test")

        names = ("record", "raise_generation", "rotate", "current", "agree", "reason", "newest", "raised", "read", "look_up")
        with contextlib.ExitStack() as patches:
            for name in names:
                patches.enter_context(mock.patch.object(Journal, name, away))
            yield


@contextlib.asynccontextmanager
async def placed(servers: Servers, folder: Path, **values: Any) -> AsyncIterator[Place]:
    async with topology.single(folder / "store", options={"appendonly": "yes", "appendfsync": "always"}) as node:
        app = web.Application()
        own = {"redis_host": node.host, "redis_port": node.port, "database_url": f"sqlite:///{folder}/journal.db"}
        setup(app, servers.settings("fakeredis", **(own | values)))
        async with TestClient(TestServer(app)):
            made = Place(node, app)
            await made.settled()
            yield made


@pytest.fixture
async def place(servers: Servers, tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(servers, tmp_path) as made:
        yield made


async def test_both_away_nothing_is_known(place: Place) -> None:
    cookie, session = await place.sign_in()
    with place.journal_away(), testing.redis_down(place.app):
        loaded = await place.manager.load(cookie)
        with pytest.raises(Unavailable):
            _ = loaded.is_signed_in
        with pytest.raises(Unavailable):
            _ = loaded.user_id  # None would say that nobody is signed in
        with pytest.raises(Unavailable):
            await place.manager.end(session)
    assert (await place.manager.load(cookie)).is_signed_in


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_logout_with_the_id_before_a_rotation_ends_what_it_became(place: Place, is_away: bool) -> None:
    old_cookie, session = await place.sign_in()
    in_time = await place.manager.load(old_cookie)  # a parallel request, which is slow
    with testing.redis_down(place.app) if is_away else contextlib.nullcontext():
        await place.manager.rotate(session, signs_in=True)
        await place.manager.rotate(session, signs_in=True)
        new_cookie = place.manager.seal(session)
        assert (await place.manager.load(new_cookie)).is_signed_in
        await place.manager.end(in_time)
        assert (await place.manager.load(new_cookie)).ended == "logout"
    assert (await place.manager.load(new_cookie)).ended == "logout"

    async def is_deleted() -> bool:
        return await place.manager.count_active() == 0

    await until(is_deleted, "the journal is applied to the store")


async def test_a_rotation_that_redis_left_half_way_is_whole_in_the_end(place: Place) -> None:
    old_cookie, session = await place.sign_in(data={"cart": 1})
    with testing.redis_down(place.app):
        await place.manager.rotate(session, signs_in=True)
        assert session.degraded
    new = await place.manager.load(place.manager.seal(session))
    assert new.is_signed_in
    assert not new.degraded
    assert new.restored
    assert (await place.manager.load(old_cookie)).ended == "rotated"


async def test_while_redis_is_away_data_is_an_error_and_identity_is_not(place: Place) -> None:
    cookie, stored = await place.sign_in(data={"cart": 1})
    with testing.redis_down(place.app):
        session = await place.manager.load(cookie)
        assert (session.user_id, session.degraded, session.id) == ("ada", True, stored.id)
        assert session.auth_time == stored.auth_time
        assert session.created_at == stored.created_at
        for use in (lambda: session["cart"], lambda: "cart" in session, lambda: list(session), lambda: session.update(a=1)):
            with pytest.raises(Unavailable):
                use()
    assert (await place.manager.load(cookie))["cart"] == 1


@pytest.mark.parametrize("forgets", ["keys that are read again", "many other values"])
async def test_a_bearer_that_a_worker_saw_a_moment_ago_stays_good_whatever_the_key_ring_forgets(place: Place, forgets: str) -> None:
    """Its value was sealed long ago, and never again: only what the worker saw in Redis makes it good."""
    value, _ = await place.sign_in()
    for _ in range(20):
        testing.clock(place.app).move(minutes=1)
        assert (await place.manager.load(value)).user_id == "ada"
    if forgets == "many other values":
        other = await place.manager.create("bob")
        for _ in range(OPENED_AT_MOST + 1):
            assert place.manager.opens(place.manager.seal(other, "bearer"))
    else:
        place.manager.replace_keys(place.manager.settings.key_ring)
    with testing.redis_down(place.app):
        session = await place.manager.load(value)
        assert (session.user_id, session.degraded) == ("ada", True)
    testing.clock(place.app).move(seconds=place.manager.settings.degraded_max_age + 1)
    with testing.redis_down(place.app), pytest.raises(Unavailable):
        _ = (await place.manager.load(value)).user_id


async def test_a_server_that_somebodys_script_keeps_busy_is_a_fault_of_the_store_and_passes(place: Place) -> None:
    cookie, _ = await place.sign_in()
    await place.node.call("CONFIG", "SET", "busy-reply-threshold", 50)
    script = asyncio.create_task(place.node.call("EVAL", "while true do end", 0))

    async def is_busy() -> bool:
        return (await place.manager.load(cookie)).degraded

    await until(is_busy, "the script has run for longer than the server waits")
    with pytest.raises(StoreUnavailable) as caught:
        await place.manager.ping()
    assert caught.value.kind == "busy"
    await place.node.call("SCRIPT", "KILL")
    with contextlib.suppress(ResponseError):
        await script
    assert not (await place.manager.load(cookie)).degraded


@pytest.mark.parametrize("step", ["catch_up", "turn", "sweep"])
async def test_an_error_that_nobody_foresaw_ends_no_loop(place: Place, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(loops, "PAUSE_SECONDS", 0)
    owner: Any = {
        "catch_up": place.manager._parts.tail,
        "turn": place.manager._parts.replay,
        "sweep": place.manager._parts.sweeper,
    }[step]
    real = getattr(owner, step)
    calls = 0
    is_done = asyncio.Event()

    async def fails_once(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ResponseError("ERR unforeseen")
        result = await real(*args, **named)
        is_done.set()
        return result

    monkeypatch.setattr(owner, step, fails_once)
    async with asyncio.timeout(5):
        await is_done.wait()
