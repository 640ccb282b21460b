"""A request waits for a Redis that hangs only once, however many steps it has."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS, StoreUnavailable, get_session, testing
from stateroom.backend.budget import BUDGET, Budget, aside, seconds_left, within_budget
from stateroom.backend.clients import make_client
from stateroom.drills import topology
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.store.key_names import KeyNames
from stateroom.sessions.store.redis_clock import RedisClock
from stateroom.sessions.store.scripts import SCRIPTS
from stateroom.sessions.store.session_store import SessionStore
from stateroom.setup import setup
from stateroom.telemetry.metrics import Metrics

from ..patience import at_most
from ..servers import AS_USERS_HAVE_IT, Servers


async def test_steps_share_what_is_left() -> None:
    BUDGET.set(Budget(1.0))
    with at_most(1.1):
        await within_budget(asyncio.sleep(0.3))
        assert 0 < seconds_left(2.0) <= 0.7
        with pytest.raises(StoreUnavailable) as fault:
            await within_budget(asyncio.sleep(5))
        assert fault.value.kind == "timeout"
        with pytest.raises(StoreUnavailable):
            await within_budget(asyncio.sleep(5))


async def test_steps_that_only_count_give_their_time_back_unless_they_fail() -> None:
    BUDGET.set(Budget(1.0))
    await asyncio.gather(*(aside(within_budget(asyncio.sleep(0.1))) for _ in range(5)))
    assert seconds_left(2.0) == 1.0
    with pytest.raises(StoreUnavailable):
        await aside(within_budget(asyncio.sleep(5)))
    assert seconds_left(2.0) == 0


async def test_without_a_request_each_step_has_its_own_time() -> None:
    assert BUDGET.get() is None
    assert seconds_left(0.5) == 0.5
    assert await within_budget(asyncio.sleep(0, "done")) == "done"


async def test_a_spent_budget_says_nothing_about_the_server(servers: Servers) -> None:
    client = make_client(servers.settings("valkey"), metrics=Metrics())
    await client.start()
    BUDGET.set(Budget(0.0))
    with pytest.raises(StoreUnavailable):
        await client.pipeline("k", [("PING",)])
    assert client.is_available
    BUDGET.set(None)
    assert await client.pipeline("k", [("PING",)]) == [b"PONG"]
    await client.aclose()


async def test_a_step_that_comes_too_late_leaves_no_error_that_nobody_fetches(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with topology.single(tmp_path) as node:
        settings = testing.settings(redis_host=node.host, redis_port=node.port, redis_read_timeout=5)
        client = make_client(settings, metrics=Metrics())
        store = SessionStore(client, KeyNames("test"), RedisClock(), max_bytes=1000, timeout=5)
        await client.start()
        for is_hung in (False, True):
            if is_hung:
                node.pause()
            BUDGET.set(Budget(0.0))
            with pytest.raises(StoreUnavailable, match="all the time"):
                await client.run(SCRIPTS["take"], ["k"], [0, 0])  # the server does not know the script: its reply is an error
            with pytest.raises(StoreUnavailable, match="all the time"):
                await store.load(SessionRef("", "A" * 22))
            BUDGET.set(None)
            if not is_hung:
                await client.execute("k", "PING")  # its reply comes after theirs
        await client.aclose()  # whatever still waits fails
        gc.collect()
    assert told == []


async def test_a_request_waits_for_a_hung_server_no_longer_than_once(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    async with topology.single(tmp_path) as node:
        settings = servers.settings("fakeredis", redis_host=node.host, redis_port=node.port, **AS_USERS_HAVE_IT)
        app = web.Application()
        setup(app, settings)

        async def hang_half_way(request: web.Request) -> web.Response:
            session = get_session(request)
            session["seen"] = 1
            await session.save()
            node.pause()
            faults = 0
            for number in range(3):
                session["seen"] = number + 2
                try:
                    await session.save()
                except StoreUnavailable:
                    faults += 1
            return web.json_response({"faults": faults})

        app.router.add_post("/", hang_half_way)
        client = await aiohttp_client(app)
        await testing.sign_in_as(client, 1)
        with at_most(settings.redis_read_timeout + 0.2):
            async with client.post("/") as response:
                assert response.status == 503  # The last change could not be saved.
        node.resume()
        assert app[SESSIONS] is not None
