"""The first read of the journal, before an application takes requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import testing
from stateroom.sessions.journal.sql import Journal


async def who(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "degraded": session.degraded})


async def test_the_first_request_of_a_worker_is_served_without_redis(aiohttp_client: AiohttpClient, tmp_path: Path) -> None:
    asked, newest = asyncio.Event(), Journal.newest

    async def slow(journal: Journal, count: int) -> Any:
        asked.set()
        await asyncio.sleep(0.3)  # a busy database
        return await newest(journal, count)

    app = web.Application()
    stateroom.setup(app, testing.settings(database_url=f"sqlite:///{tmp_path}/test.db"), client_factory=testing.fake_redis)
    app.add_routes([web.get("/who", who)])
    with mock.patch.object(Journal, "newest", slow):
        client = await aiohttp_client(app)
    assert asked.is_set()
    await testing.sign_in_as(client, 42)
    with testing.redis_down(app):
        async with client.get("/who") as response:
            assert (response.status, await response.json()) == (200, {"user": 42, "degraded": True})
