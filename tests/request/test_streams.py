"""Open WebSockets and streams end with their session, on every worker, even while Redis is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS, require_auth, sign_in, sign_out, testing
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import DatabaseUnavailable
from stateroom.request.request_session import FRONTEND
from stateroom.request.streams import Streams
from stateroom.sessions.journal.sql import Journal
from stateroom.setup import setup

from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers
from .sites import socket

SOON_SECONDS = 1.0


@require_auth
async def events(request: web.Request) -> web.StreamResponse:
    made = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await made.prepare(request)
    while True:
        await made.write(b"data: x\n\n")
        await asyncio.sleep(0.05)


async def enter(request: web.Request) -> web.Response:
    await sign_in(request, request.match_info["user"])
    return web.Response()


async def leave(request: web.Request) -> web.Response:
    await sign_out(request)
    return web.Response()


async def revoke_all(request: web.Request) -> web.Response:
    await request.app[SESSIONS].revoke_all(request.match_info["user"])
    return web.Response()


@dataclass
class Fleet:
    """Two workers on one store and one journal."""

    node: Node
    workers: list[ServiceClient]

    def app(self, number: int = 0) -> web.Application:
        app = self.workers[number].app
        assert app is not None
        return app

    async def sign_in(self, user: str) -> dict[str, str]:
        async with self.workers[0].post(f"/in/{user}") as response:
            value = response.cookies["session_id"].value
        self.workers[0].session.cookie_jar.clear()
        return {"Cookie": f"session_id={value}"}

    async def post(self, path: str, headers: dict[str, str], *, worker: int = 1) -> None:
        async with self.workers[worker].post(path, headers=headers) as response:
            assert response.status == 200
        self.workers[worker].session.cookie_jar.clear()


@pytest.fixture
async def fleet(servers: Servers, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with topology.single(tmp_path / "store") as node:
        made: list[ServiceClient] = []
        settings = servers.service_settings(tmp_path, redis_host=node.host, redis_port=node.port)
        for _ in range(2):
            app = web.Application()
            setup(app, settings)
            app.add_routes(
                [
                    web.get("/socket", socket), web.get("/events", events), web.post("/in/{user}", enter), web.post("/out", leave),
                    web.post("/revoke/{user}", revoke_all),
                ]
            )  # fmt: skip
            client = TestClient(TestServer(app))
            await client.start_server()
            await settled(app)
            made.append(client)
        yield Fleet(node, made)
        for client in made:
            await client.close()


async def closed(ws: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """The close code, if the WebSocket is closed soon."""
    async with asyncio.timeout(SOON_SECONDS):
        message = await ws.receive()
    assert message.type == aiohttp.WSMsgType.CLOSE, message
    return message.data, str(message.extra)


async def opened(fleet: Fleet, headers: dict[str, str], *, worker: int = 0) -> aiohttp.ClientWebSocketResponse:
    ws = await fleet.workers[worker].ws_connect("/socket", headers=headers, autoclose=False)
    assert await ws.receive_str() == "open"
    return ws


async def test_a_logout_on_another_worker_closes_it_and_nobody_elses(fleet: Fleet) -> None:
    ada, bob = await fleet.sign_in("ada"), await fleet.sign_in("bob")
    mine, other = await opened(fleet, ada), await opened(fleet, bob)
    await fleet.post("/out", ada)
    assert await closed(mine) == (4401, "session ended: logout")
    assert len(fleet.app()[FRONTEND].streams) == 1
    with pytest.raises(TimeoutError):
        await other.receive(timeout=0.3)
    await other.close()
    await mine.close()


async def test_signing_out_everywhere_closes_all_of_a_user(fleet: Fleet) -> None:
    sockets = [await opened(fleet, await fleet.sign_in("ada"), worker=number) for number in (0, 1)]
    await fleet.post("/revoke/ada", {})
    for ws in sockets:
        assert await closed(ws) == (4401, "session ended: revoked")
        await ws.close()


async def test_an_event_stream_ends_in_order(fleet: Fleet) -> None:
    ada = await fleet.sign_in("ada")
    async with fleet.workers[0].get("/events", headers=ada) as response:
        assert await response.content.readline() == b"data: x\n"
        await fleet.post("/out", ada)
        async with asyncio.timeout(SOON_SECONDS):
            await response.content.read()  # The stream ended in order: the connection did not break.


async def test_they_end_while_redis_is_away(fleet: Fleet) -> None:
    ada = await fleet.sign_in("ada")
    ws = await opened(fleet, ada)
    async with fleet.workers[1].get("/socket", headers=ada):
        pass  # That worker has seen the session too.
    await fleet.node.kill()
    await fleet.post("/out", ada)
    assert await closed(ws) == (4401, "session ended: logout")
    await ws.close()
    await fleet.node.start()


async def test_a_session_that_expires_closes_its_streams(fleet: Fleet) -> None:
    ws = await opened(fleet, await fleet.sign_in("ada"))
    testing.clock(fleet.app()).move(hours=2)
    async with asyncio.timeout(3):
        message = await ws.receive()
    assert (message.data, message.extra) == (4401, "session ended: expired")
    await ws.close()


async def test_a_stream_that_is_over_is_forgotten(fleet: Fleet) -> None:
    ada = await fleet.sign_in("ada")
    ws = await opened(fleet, ada)
    assert len(fleet.app()[FRONTEND].streams) == 1
    await ws.close()

    async def is_forgotten() -> bool:
        return len(fleet.app()[FRONTEND].streams) == 0

    await until(is_forgotten, "the handler has ended")


async def test_a_page_of_another_site_opens_no_socket(fleet: Fleet) -> None:
    """The browser sends the cookie, and CORS does not prevent reading from a WebSocket."""
    ada = await fleet.sign_in("ada")
    client = fleet.workers[0]
    for foreign in ("https://evil.example", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/socket", headers={**ada, "Origin": foreign})
        assert refused.value.status == 403
    assert len(fleet.app()[FRONTEND].streams) == 0
    own = str(client.make_url("/").origin())
    ws = await opened(fleet, {**ada, "Origin": own})
    await ws.close()


@pytest.mark.parametrize("worker", [0, 1])
async def test_they_end_while_the_journal_is_away(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, worker: int) -> None:
    """On the worker that acknowledged the logout, and on another, which must ask the store."""
    ada, bob = await fleet.sign_in("ada"), await fleet.sign_in("bob")
    mine, other = await opened(fleet, ada, worker=0), await opened(fleet, bob, worker=0)

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away, for a test")

    for name in ("record", "read", "look_up", "reason"):
        monkeypatch.setattr(Journal, name, away)

    async def is_away() -> bool:
        return all(fleet.app(number)[SESSIONS]._parts.tail.is_away for number in (0, 1))

    async def none(_: Streams) -> None:
        return

    if worker == 0:  # It knows this without asking.
        monkeypatch.setattr(Streams, "_look_for_tombstones", none)
    await until(is_away, "the journal is away")
    await fleet.post("/out", ada, worker=worker)
    async with asyncio.timeout(3):
        message = await mine.receive()
    assert (message.data, message.extra) == (4401, "session ended: logout")
    assert len(fleet.app()[FRONTEND].streams) == 1
    await other.close()
    await mine.close()
