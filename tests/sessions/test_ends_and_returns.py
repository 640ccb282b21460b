"""When an end is acknowledged, what survives the journal's absence, and which sessions come back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import METRICS, SESSIONS, SessionEnded, Unavailable, testing
from stateroom.drills import topology
from stateroom.drills.topology import Node
from stateroom.errors import DatabaseUnavailable
from stateroom.sessions.journal import Journal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.session import Session
from stateroom.sessions.tail import LEASE_SECONDS
from stateroom.setup import setup

from ..servers import Servers


@dataclass
class Place:
    """One worker, settled on a server of its own, with an SQLite journal."""

    node: Node
    app: web.Application

    @property
    def manager(self) -> SessionManager:
        return self.app[SESSIONS]

    def metric(self, name: str) -> float | None:
        return self.app[METRICS].registry.get_sample_value(f"stateroom_{name}")

    async def sign_in(self, user: str = "ada", **options: Any) -> tuple[str, Session]:
        session = await self.manager.create(user, **options)
        return self.manager.seal(session), session

    async def settled(self) -> None:
        async def is_settled() -> bool:
            return self.manager.store_state() == "settled"

        await topology.until(is_settled, "the store is settled")

    @contextlib.contextmanager
    def journal_away(self) -> Any:
        async def away(*_: Any, **__: Any) -> Any:
            raise DatabaseUnavailable("away, for a test")

        names = ("record", "raise_generation", "generation", "reason", "newest", "read", "covering")
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


async def took(step: Any) -> float:
    began = time.monotonic()
    await step
    return time.monotonic() - began


# Ends


async def test_an_end_that_a_settled_store_confirms_is_acknowledged_at_once(place: Place) -> None:
    _, session = await place.sign_in()
    assert await took(place.manager.end(session)) < LEASE_SECONDS / 2


async def test_otherwise_it_is_one_lease_after_the_commit(place: Place) -> None:
    cookie, session = await place.sign_in()
    with testing.redis_down(place.app):
        assert LEASE_SECONDS <= await took(place.manager.end(session)) < LEASE_SECONDS + 0.3
        assert (await place.manager.load(cookie)).ended == "logout"
    loaded = await place.manager.load(cookie)
    assert loaded.ended == "logout"


async def test_without_the_journal_a_settled_store_takes_an_end_and_the_row_follows(place: Place) -> None:
    cookie, session = await place.sign_in()
    with place.journal_away():
        await place.manager.end(session)
        assert place.metric("revocations_pending") == 1
        assert not (await place.manager.load(cookie)).is_signed_in
    await place.manager.stores.ends.flush()
    assert place.metric("revocations_pending") == 0
    with testing.redis_down(place.app):
        assert (await place.manager.load(cookie)).ended == "logout"


async def test_replicas_that_do_not_confirm_are_no_journal(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, redis_write_replicas=1, redis_write_replicas_timeout=0.02) as place:
        _, session = await place.sign_in()
        assert place.metric("redis_wait_shortfalls_total") == 1
        with place.journal_away(), pytest.raises(Unavailable):
            await place.manager.end(session)
        assert place.metric("revocations_pending") == 0


async def test_where_the_journal_is_required_nothing_goes_without_it(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, journal_required=True) as place:
        cookie, session = await place.sign_in()
        with place.journal_away():
            with pytest.raises(Unavailable):
                await place.manager.end(session)
            await asyncio.wait_for(_until_unknown(place, cookie), timeout=3)
        await place.manager.stores.tail.catch_up()
        assert (await place.manager.load(cookie)).is_signed_in


async def _until_unknown(place: Place, cookie: str) -> None:
    """Until the tail is stale, a settled store is believed."""
    while True:
        try:
            assert (await place.manager.load(cookie)).is_signed_in
        except Unavailable:
            return
        await asyncio.sleep(0.02)


async def test_both_away_nothing_is_known(place: Place) -> None:
    cookie, session = await place.sign_in()
    with place.journal_away(), testing.redis_down(place.app):
        loaded = await place.manager.load(cookie)
        with pytest.raises(Unavailable):
            _ = loaded.is_signed_in
        with pytest.raises(Unavailable):
            await place.manager.end(session)
    assert (await place.manager.load(cookie)).is_signed_in


async def test_a_cookie_too_old_to_stand_alone_can_still_sign_out(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, degraded_max_age=5) as place:
        cookie, _ = await place.sign_in()
        testing.clock(place.app).move(seconds=10)
        with testing.redis_down(place.app):
            loaded = await place.manager.load(cookie)
            with pytest.raises(Unavailable):
                _ = loaded.is_signed_in
            await place.manager.end(loaded)
        assert (await place.manager.load(cookie)).ended == "logout"


async def test_a_handle_that_cannot_be_checked_is_ended_all_the_same(place: Place) -> None:
    cookie, session = await place.sign_in()
    with testing.redis_down(place.app):
        assert await place.manager.revoke("ada", session.handle) is None
    assert (await place.manager.load(cookie)).ended == "revoked"
    assert await place.manager.revoke("ada", "A" * 22) is False


async def test_a_logout_between_the_steps_of_a_rotation_wins(place: Place) -> None:
    _, session = await place.sign_in()
    claim = place.manager.store.claim_rotation

    async def log_out_first(old: Any, new: Any) -> Any:
        await place.manager.stores.ends.end(old, "logout")
        return await claim(old, new)

    with mock.patch.object(place.manager.store, "claim_rotation", log_out_first), pytest.raises(SessionEnded):
        await place.manager.rotate(session, signs_in=True)
    assert await place.manager.count_active() == 0
    assert await place.manager.client.execute("", "KEYS", "*:s:*") == []


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

    await topology.until(is_deleted, "the journal is applied to the store")


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


# Lost sessions


async def test_a_flushed_session_comes_back_once_and_without_its_data(place: Place) -> None:
    cookie, _ = await place.sign_in(data={"cart": 1})
    await place.node.call("FLUSHALL")
    loads = await asyncio.gather(*(place.manager.load(cookie) for _ in range(50)))
    assert all(each.is_signed_in and not each.degraded and "cart" not in each for each in loads)
    assert sum(each.restored for each in loads) == 1
    assert place.metric("sessions_restored_total") == 1
    assert await place.manager.count_active() == 1
    assert len(await place.manager.list("ada")) == 1
    again = await place.manager.load(cookie)
    assert (again.restored, again.is_signed_in) == (False, True)


async def test_a_sign_in_while_redis_was_away_is_a_stored_session_afterwards(place: Place) -> None:
    with testing.redis_down(place.app):
        cookie, session = await place.sign_in()
        assert session.degraded
        assert (await place.manager.load(cookie)).user_id == "ada"
    loaded = await place.manager.load(cookie)
    assert (loaded.degraded, loaded.restored, loaded.id) == (False, True, session.id)


@pytest.mark.parametrize("ends", ["logout", "revoke_all"])
async def test_what_was_ended_does_not_come_back(place: Place, ends: str) -> None:
    cookie, session = await place.sign_in()
    if ends == "logout":
        await place.manager.end(session)
    else:
        await place.manager.revoke_all("ada")
    await place.node.call("FLUSHALL")
    assert not (await place.manager.load(cookie)).is_signed_in
    assert await place.manager.count_active() == 0


async def test_without_degraded_mode_nothing_comes_back(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, degraded_max_age=0) as place:
        cookie, _ = await place.sign_in()
        with testing.redis_down(place.app):
            loaded = await place.manager.load(cookie)
            with pytest.raises(Unavailable):
                _ = loaded.is_signed_in
            with pytest.raises(Unavailable):
                await place.sign_in()
        await place.node.call("FLUSHALL")
        assert (await place.manager.load(cookie)).ended == "expired"


async def test_a_cookie_that_was_not_seen_for_long_does_not_bring_it_back(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, degraded_max_age=60) as place:
        seen, _ = await place.sign_in()
        unseen, _ = await place.sign_in()
        testing.clock(place.app).move(seconds=50)
        assert (await place.manager.load(seen)).is_signed_in  # behind some proxies a cookie is never sealed anew
        testing.clock(place.app).move(seconds=50)
        await place.node.call("FLUSHALL")
        assert (await place.manager.load(seen)).is_signed_in
        assert (await place.manager.load(unseen)).ended == "expired"


async def test_an_idle_session_is_not_kept_alive_by_an_outage(servers: Servers, tmp_path: Path) -> None:
    async with placed(servers, tmp_path, session_max_age=100, degraded_max_age=100) as place:
        cookie, _ = await place.sign_in()
        for _ in range(3):
            testing.clock(place.app).move(seconds=30)
            assert (await place.manager.load(cookie)).is_signed_in  # seen, but not renewed: a poll
        with testing.redis_down(place.app):
            assert (await place.manager.load(cookie)).is_signed_in
            testing.clock(place.app).move(seconds=30)
            loaded = await place.manager.load(cookie)
            with pytest.raises(Unavailable):
                _ = loaded.is_signed_in


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
