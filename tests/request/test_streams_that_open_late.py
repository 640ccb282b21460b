"""Streams that open while their session ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS, get_session, require_auth, sign_in
from stateroom.drills.node import until
from stateroom.request.request_session import FRONTEND
from stateroom.sessions.model.deployment import Current
from stateroom.sessions.model.identity import SessionRef
from stateroom.setup import setup

from ..conftest import ServiceClient
from ..servers import Servers
from .sites import held_open

ARRIVED = web.AppKey("arrived", asyncio.Event)
GATE = web.AppKey("gate", asyncio.Event)


@require_auth
async def slow_socket(request: web.Request) -> web.WebSocketResponse:
    """A handler that waits before it opens its stream."""
    request.app[ARRIVED].set()
    await request.app[GATE].wait()
    return await held_open(request)


async def enter(request: web.Request) -> web.Response:
    await sign_in(request, "ada")
    return web.json_response({"id": get_session(request).id})


@pytest.fixture
async def worker(servers: Servers, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    app = web.Application()
    setup(app, servers.service_settings(tmp_path))
    app[ARRIVED], app[GATE] = asyncio.Event(), asyncio.Event()
    app.add_routes([web.get("/socket", slow_socket), web.post("/in", enter)])
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("is_generation", [False, True])
async def test_a_socket_that_opens_after_its_sessions_end_was_heard_is_not_left_open(
    worker: ServiceClient, *, is_generation: bool
) -> None:
    app = worker.app
    assert app is not None
    manager = app[SESSIONS]
    async with worker.post("/in") as response:
        handle = (await response.json())["id"]
    opening = asyncio.create_task(worker.ws_connect("/socket", autoclose=False))
    await app[ARRIVED].wait()
    if is_generation:
        await manager.revoke_all("ada")
    else:
        await manager.revoke("ada", handle)

    async def is_heard() -> bool:
        return manager._parts.tail.reason(SessionRef("sada", handle), Current(0, "")) == "revoked"

    await until(is_heard, "the tail has the end")
    app[GATE].set()
    try:
        socket = await opening
    except Exception:  # It may also be refused.
        return
    message = await socket.receive(timeout=3)
    while message.type is WSMsgType.TEXT:
        message = await socket.receive(timeout=3)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 4401)
    assert len(app[FRONTEND].streams) == 0
    await socket.close()
