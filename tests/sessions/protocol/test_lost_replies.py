"""A command ran, and its connection was lost before the reply: what the caller gets, and what is in Redis then.

On a real server behind a relay, with and without a journal. What the client does by itself: `backend/test_one_connection.py`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

from stateroom import SESSIONS, SessionManager, flash, take_flashes
from stateroom.database import Database
from stateroom.drills import node, topology
from stateroom.errors import DatabaseUnavailable, StoreUnavailable
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.store.scripts import SCRIPTS
from stateroom.sessions.wiring import Parts
from stateroom.settings import Settings
from stateroom.setup import PARTS, setup

from ...backend.fickle import FickleRelay
from ...patience import settled
from ...servers import Servers
from .fleet import fleet_on, is_trusted, took

USER = 7
READ_TIMEOUT_SECONDS = 4


class Service:
    """An application whose connections to Redis go through a relay. `has_journal`: whether it has a user database."""

    def __init__(self, app: web.Application, relay: FickleRelay, servers: Servers, *, has_journal: bool) -> None:
        self.relay = relay
        self.has_journal = has_journal
        self.manager: SessionManager = app[SESSIONS]
        self.parts: Parts = app[PARTS]
        self._app = app
        self._node = servers.valkey
        self._prefix = self.parts.settings.redis_key_prefix

    @contextlib.contextmanager
    def lost(self, script: str) -> Iterator[None]:
        """The next reply to this script is lost with its connection."""
        with lost(self.relay, script):
            yield

    async def sign_in(self, **data: Any) -> tuple[Session, str]:
        session = await self.manager.create(USER, data=data)
        assert not session.degraded
        return session, self.manager.seal(session)

    async def settle(self) -> None:
        await settled(self._app)

    async def stored(self, session: Session) -> dict[str, Any]:
        """The data as the next request sees it. The session must be the user's, and not degraded."""
        loaded = await self.manager.load(self.manager.seal(session))
        assert loaded.user_id == USER
        assert not loaded.degraded
        return dict(loaded)

    async def messages(self, session: Session) -> dict[str, str]:
        return await take_flashes(await self.manager.load(self.manager.seal(session)))

    async def in_redis(self) -> set[str]:
        """The handles of all stored sessions, from their keys."""
        found = await self._node.call("KEYS", f"{self._prefix}:*:s:*")
        return {key.decode().rsplit(":", 1)[1] for key in found}

    async def listed(self) -> set[str]:
        """The handles of the user's sessions, from the index."""
        return {each.id for each in await self.manager.list(USER)}


@contextlib.contextmanager
def lost(relay: FickleRelay, script: str) -> Iterator[None]:
    before = relay.lost
    relay.loses_reply_to = SCRIPTS[script].sha1.encode()
    yield
    assert relay.lost == before + 1, "the script was not sent"


@pytest.fixture(params=["shared", "pooled"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Identity writes go over a shared connection, or with a WAIT over a pooled one. No replica is there to confirm."""
    return {"redis_write_replicas": 1, "redis_write_replicas_timeout": 0.05} if request.param == "pooled" else {}


@pytest.fixture(params=["journal", "no journal"])
async def service(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, way: dict[str, Any]) -> AsyncIterator[Service]:
    for script in SCRIPTS.values():
        await servers.valkey.call("SCRIPT", "LOAD", script.source)
    has_journal = request.param == "journal"
    async with FickleRelay(servers.valkey.address) as relay:
        own: dict[str, Any] = {
            "redis_host": relay.at.host,
            "redis_port": relay.at.port,
            "redis_key_prefix": f"test-{secrets.token_hex(4)}",
            "redis_read_timeout": READ_TIMEOUT_SECONDS,
        }
        if has_journal:
            own |= {"database_url": f"sqlite:///{tmp_path}/users.db", "state_dir": tmp_path}
        app = web.Application()
        setup(app, servers.settings("valkey", **(own | way)))
        app.freeze()
        await app.startup()
        await settled(app)
        yield Service(app, relay, servers, has_journal=has_journal)
        await app.cleanup()


# What is never sent again.


async def test_a_claim_that_ran_leaves_the_new_session_and_its_data(service: Service) -> None:
    session, old = await service.sign_in(cart=[1])
    old_handle = record_of(session).ref.handle
    with service.lost("claim"):
        if service.has_journal:
            took_seconds = await took(service.manager.rotate(session))
            assert session.degraded
            # A claim that is still under way must find the old session until its deadline.
            assert took_seconds > READ_TIMEOUT_SECONDS - 1
        else:
            with pytest.raises(StoreUnavailable):
                await service.manager.rotate(session)
    new_handle = record_of(session).ref.handle
    assert new_handle != old_handle
    await service.settle()
    assert await service.stored(session) == {"cart": [1]}
    assert await service.in_redis() == await service.listed() == {new_handle}
    assert (await service.manager.load(old)).ended == "rotated"


async def test_a_sign_in_that_ran_is_one_session(service: Service) -> None:
    session = service.manager.anonymous()
    session["cart"] = [1]
    with service.lost("create"):
        if service.has_journal:
            await service.manager.sign_in(session, USER, metadata={})
            assert session.degraded
        else:
            with pytest.raises(StoreUnavailable):
                await service.manager.sign_in(session, USER, metadata={})
    await service.settle()
    if not service.has_journal:  # nobody has got the token of what was stored
        assert await service.in_redis() == await service.listed() == set()
        await service.manager.sign_in(session, USER, metadata={})
    assert await service.stored(session) == {"cart": [1]}
    assert await service.in_redis() == await service.listed() == {record_of(session).ref.handle}


async def test_a_sign_in_whose_reply_was_lost_replaces_the_visitors_session(service: Service) -> None:
    visitor = await service.manager.create(data={"cart": [1]})
    value = service.manager.seal(visitor)
    with service.lost("create"):
        if service.has_journal:
            await service.manager.sign_in(visitor, USER, metadata={})
        else:
            with pytest.raises(StoreUnavailable):
                await service.manager.sign_in(visitor, USER, metadata={})
    await service.settle()
    loaded = await service.manager.load(value)
    if service.has_journal:
        assert (loaded.is_signed_in, dict(loaded)) == (False, {})
        assert await service.stored(visitor) == {"cart": [1]}
    else:
        assert dict(loaded) == {"cart": [1]}
        assert dict(visitor) == {"cart": [1]}
    assert len(await service.in_redis()) == 1


async def test_a_visitors_first_write_that_ran_is_stored_once(service: Service) -> None:
    session = service.manager.anonymous()
    session["cart"] = [1]
    flash(session, "info", "Added.")
    with service.lost("create"), pytest.raises(StoreUnavailable):
        await session.save()
    await session.save()
    assert await service.in_redis() == {record_of(session).ref.handle}
    loaded = await service.manager.load(service.manager.seal(session))
    assert dict(loaded) == {"cart": [1]}
    assert await take_flashes(loaded) == {"flash_info": "Added."}


async def test_a_save_that_ran_stores_values_and_messages_once(service: Service) -> None:
    session, _ = await service.sign_in(cart=[1])
    session["cart"].append(2)
    flash(session, "info", "Added.")
    with service.lost("save"), pytest.raises(StoreUnavailable):
        await session.save()
    assert await service.stored(session) == {"cart": [1, 2]}
    assert await service.messages(session) == {"flash_info": "Added."}
    assert await service.in_redis() == {record_of(session).ref.handle}


async def test_a_second_save_doubles_no_message(service: Service) -> None:
    session, _ = await service.sign_in(cart=[1])
    flash(session, "info", "Waiting.")
    await session.save()
    session["cart"].append(2)
    flash(session, "info", "Added.")
    with service.lost("save"), pytest.raises(StoreUnavailable):
        await session.save()
    flash(session, "info", "Once more.")
    await session.save()
    assert await service.stored(session) == {"cart": [1, 2]}
    assert await service.messages(session) == {"flash_info": "Waiting.\nAdded.\nOnce more."}


async def test_a_save_that_did_not_run_is_made_by_the_next_one(service: Service) -> None:
    session, _ = await service.sign_in(cart=[1])
    flash(session, "info", "Added.")
    await session.save()
    session["cart"].append(2)
    flash(session, "info", "Added.")
    lost_before = StoreUnavailable("the connection was lost before the command", kind="connection")
    with mock.patch.object(service.parts.client, "run", side_effect=lost_before), pytest.raises(StoreUnavailable):
        await session.save()
    assert await service.stored(session) == {"cart": [1]}
    await session.save()
    assert await service.stored(session) == {"cart": [1, 2]}
    assert await service.messages(session) == {"flash_info": "Added.\nAdded."}


async def test_a_save_in_doubt_keeps_its_values_if_another_request_left_the_same_message(service: Service) -> None:
    session, value = await service.sign_in(cart=[1])
    session["cart"].append(2)
    flash(session, "info", "Added.")
    lost_before = StoreUnavailable("the connection was lost before the command", kind="connection")
    with mock.patch.object(service.parts.client, "run", side_effect=lost_before), pytest.raises(StoreUnavailable):
        await session.save()
    parallel = await service.manager.load(value)
    flash(parallel, "info", "Added.")
    await parallel.save()
    await session.save()
    assert await service.stored(session) == {"cart": [1, 2]}


async def test_messages_of_a_save_in_doubt_are_taken_once(service: Service) -> None:
    session, _ = await service.sign_in()
    flash(session, "info", "Added.")
    with service.lost("save"), pytest.raises(StoreUnavailable):
        await session.save()
    assert await take_flashes(session) == {"flash_info": "Added."}
    assert await service.messages(session) == {}


async def test_a_change_that_ran_counts_once(service: Service) -> None:
    session, _ = await service.sign_in(visits=1)
    with service.lost("change"), pytest.raises(StoreUnavailable):
        await session.change("visits", lambda visits: visits + 1)
    assert await service.stored(session) == {"visits": 2}


async def test_messages_that_were_taken_are_in_no_second_response(service: Service) -> None:
    session, _ = await service.sign_in()
    flash(session, "info", "Added.")
    await session.save()
    with service.lost("take"), pytest.raises(StoreUnavailable):
        await take_flashes(session)
    assert await service.messages(session) == {}


# What is sent again.


async def test_a_renewal_is_sent_again(service: Service) -> None:
    session, _ = await service.sign_in()
    before = record_of(session).expires_ms
    service.parts.clock.skew_ms += int(1000 * service.parts.settings.session_renew_interval)
    with service.lost("renew"):
        assert await service.manager.renew(session)
    assert record_of(session).expires_ms > before
    loaded = await service.manager.load(service.manager.seal(session))
    assert record_of(loaded).expires_ms == record_of(session).expires_ms


async def test_the_copy_of_a_rotation_is_sent_again(service: Service) -> None:
    session, old = await service.sign_in(cart=[1])
    with service.lost("prepare"):
        await service.manager.rotate(session)
    assert not session.degraded
    assert await service.stored(session) == {"cart": [1]}
    assert await service.in_redis() == await service.listed() == {record_of(session).ref.handle}
    assert (await service.manager.load(old)).ended == "rotated"


@pytest.mark.parametrize("service", ["journal"], indirect=True)  # Without one no lost session is stored again.
@pytest.mark.parametrize("script", ["restore", "confirm"])
async def test_a_lost_session_is_stored_again_all_the_same(service: Service, script: str) -> None:
    session, value = await service.sign_in()
    key = service.parts.store.key(record_of(session).ref)
    await service.parts.client.execute(key, "DEL", key)
    with service.lost(script):
        assert is_trusted(await service.manager.load(value))
    assert await service.stored(session) == {}
    assert await service.in_redis() == await service.listed() == {record_of(session).ref.handle}


async def test_a_sign_out_is_sent_again(service: Service) -> None:
    session, value = await service.sign_in()
    other, _ = await service.sign_in()
    with service.lost("finish"):
        await service.manager.end(session)
    assert (await service.manager.load(value)).ended == "logout"
    assert await service.in_redis() == await service.listed() == {record_of(other).ref.handle}


async def test_the_end_of_all_sessions_is_sent_again_where_the_journal_has_the_reasons(service: Service) -> None:
    values = [(await service.sign_in())[1] for _ in range(3)]
    with service.lost("end_older"):
        if service.has_journal:
            await service.manager.revoke_all(USER)
        else:
            with pytest.raises(StoreUnavailable):
                await service.manager.revoke_all(USER)
    for value in values:
        loaded = await service.manager.load(value)
        assert not is_trusted(loaded)
        if service.has_journal:
            assert loaded.ended == "revoked"
    assert await service.in_redis() == await service.listed() == set()


@pytest.mark.parametrize("service", ["no journal"], indirect=True)  # With one a rotation writes no tombstone.
async def test_a_rotation_whose_tombstone_is_in_doubt_succeeds_at_the_second_attempt(service: Service) -> None:
    session, value = await service.sign_in(cart=[1])
    with service.lost("entomb"), pytest.raises(StoreUnavailable):
        await service.manager.rotate(session)
    assert is_trusted(await service.manager.load(value))
    assert await service.in_redis() == {record_of(session).ref.handle}
    await service.manager.rotate(session)
    assert await service.stored(session) == {"cart": [1]}
    assert (await service.manager.load(value)).ended == "rotated"
    assert await service.in_redis() == await service.listed() == {record_of(session).ref.handle}


# What a WAIT that was sent again proves: nothing.


@pytest.fixture
def database_settings(servers: Servers, tmp_path: Path) -> Settings:
    """An SQLite database: the journal is cut in this test."""
    return servers.settings("fakeredis", database_url=None, state_dir=tmp_path / "state")


async def test_without_the_journal_a_sign_out_that_was_sent_again_is_not_acknowledged(tmp_path: Path, database: Database) -> None:
    """The replica follows, and would confirm the WAIT of the second attempt at once: that one has written nothing."""
    async with fleet_on(tmp_path, database) as fleet:
        follows = {"replicaof": f"{fleet.node.host} {fleet.node.port}"}
        async with topology.single(tmp_path / "replica", options=follows) as replica, FickleRelay(fleet.node.address) as relay:

            async def is_linked() -> bool:
                return bool((await replica.call("ROLE"))[3] == b"connected")

            await node.until(is_linked, "the replica follows")
            for script in SCRIPTS.values():
                await fleet.call("SCRIPT", "LOAD", script.source)
            where = {"redis_host": relay.at.host, "redis_port": relay.at.port}
            worker = await fleet.join(redis_write_replicas=1, redis_write_replicas_timeout=30, redis_read_timeout=5, **where)
            control, _ = await worker.sign_in()
            session, value = await worker.sign_in()
            worker.line.is_cut = True
            await worker.manager.end(control)  # The replica confirms.
            assert worker.metric("revocations_pending") == 1
            with lost(relay, "finish"), pytest.raises(DatabaseUnavailable, match="too few replicas"):
                await worker.manager.end(session)
            assert worker.metric("revocations_pending") == 1
            assert len(await worker.copies()) == 0
            worker.line.is_cut = False
            await worker.settle()
            await worker.manager.end(session)
            assert (await worker.manager.load(value)).ended == "logout"
