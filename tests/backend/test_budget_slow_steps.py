"""A request has one budget of waiting for a slow Redis. Streams and work outside requests have none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import METRICS, SESSIONS, get_session, testing
from stateroom.drills import topology
from stateroom.settings import Address
from stateroom.setup import setup

from ..patience import at_most
from ..servers import Servers

LATENCY_SECONDS = 0.2


class Slow:
    """A relay to a server that delays each answer."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self.latency = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._target.host, self._target.port)
        for source, target, is_answer in ((reader, inner_writer, False), (inner_reader, writer, True)):
            self._tasks.add(asyncio.create_task(self._pump(source, target, is_answer=is_answer)))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_answer and self.latency:  # One after the other: a command that was given up delays no later one.
                    asyncio.get_running_loop().call_later(self.latency, writer.write, data)
                else:
                    writer.write(data)
        writer.transport.abort()


async def steps(request: web.Request) -> web.Response:
    session = get_session(request)
    for number in range(int(request.match_info["count"])):
        session["n"] = number
        await session.save()
    return web.json_response({})


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    session = get_session(request)
    for number in range(5):
        session["n"] = number
        await session.save()
    await response.write(b"done")
    return response


@pytest.fixture
async def place(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Slow, TestClient[web.Request, web.Application]]]:
    async with topology.single(tmp_path) as node, Slow(node.address) as slow:
        app = web.Application()
        setup(app, servers.settings("fakeredis", redis_host="127.0.0.1", redis_port=slow.port, redis_read_timeout=0.5))
        app.add_routes([web.post("/steps/{count}", steps), web.get("/stream", stream)])
        async with TestClient(TestServer(app)) as client:
            await testing.sign_in_as(client, 1)
            async with client.post("/steps/1") as response:  # The server knows the script.
                assert response.status == 200
            slow.latency = LATENCY_SECONDS
            yield slow, client


async def test_slow_steps_of_one_request_share_one_wait_and_trip_nothing(
    place: tuple[Slow, TestClient[web.Request, web.Application]],
) -> None:
    _, client = place
    assert client.app is not None
    async with client.post("/steps/1") as response:  # The load and one step: 0.4 s.
        assert response.status == 200
    began = time.monotonic()
    with at_most(0.5 + 0.15):
        async with client.post("/steps/3") as response:
            assert response.status == 503
    assert time.monotonic() - began > 0.4
    assert client.app[METRICS].registry.get_sample_value("stateroom_redis_circuit_state") == 0
    assert client.app[SESSIONS]._parts.client.is_available
    async with client.post("/steps/1") as response:
        assert response.status == 200


async def test_a_streams_later_steps_and_work_outside_requests_have_all_the_time(
    place: tuple[Slow, TestClient[web.Request, web.Application]],
) -> None:
    _, client = place
    assert client.app is not None
    async with client.get("/stream") as response:
        assert await response.text() == "done"
    manager = client.app[SESSIONS]
    session = await manager.create(2)
    for number in range(4):
        session["n"] = number
        assert await manager.save(session) is False
