"""`stateroom.setup(app, known_users=...)`: an application with a table of users of its own, in the database of the journal."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

import stateroom
from stateroom.drills.node import until
from stateroom.sessions.model.identity import UserId
from stateroom.sessions.protocol import unknown_users
from stateroom.setup import PARTS

from ..patience import settled
from ..servers import Servers
from .conftest import MakeDatabase
from .user_databases import UserDatabase

Hook = Callable[[Collection[UserId]], Awaitable[Collection[UserId]]]

routes = web.RouteTableDef()


@routes.post("/in/{name}")
async def come_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, request.match_info["name"])
    return web.json_response({})


@routes.post("/out")
async def go_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


@routes.get("/me")
async def me(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "ended": session.ended})


class Visitor:
    """Somebody with a browser."""

    def __init__(self, server: TestServer, name: str) -> None:
        self._server = server
        self._name = name
        self._cookies: dict[str, str] = {}

    async def call(self, method: str, path: str) -> tuple[int, Any]:
        url = self._server.make_url(path)
        async with ClientSession(cookies=self._cookies) as browser, browser.request(method, url) as response:
            self._cookies |= {name: each.value for name, each in response.cookies.items()}
            return response.status, await response.json() if response.status == 200 else None

    async def come_in(self) -> None:
        assert (await self.call("POST", f"/in/{self._name}"))[0] == 200

    async def seen(self) -> str:
        """Who the application takes the visitor for, why the session has ended, or "unavailable"."""
        status, found = await self.call("GET", "/me")
        if status == 503:
            return "unavailable"
        assert status == 200
        return str(found["user"] or found["ended"])


@pytest.fixture
async def database(make_database: MakeDatabase) -> UserDatabase:
    made = await asyncio.to_thread(make_database)
    if made.url.startswith("sqlite"):
        await asyncio.to_thread(made.make_schema)
    await asyncio.to_thread(made.change, "CREATE TABLE people (name VARCHAR(20) PRIMARY KEY)")
    return made


@contextlib.asynccontextmanager
async def serving(servers: Servers, database: UserDatabase, hook: Hook | None) -> AsyncIterator[TestServer]:
    app = web.Application()
    prefix = f"test-{secrets.token_hex(4)}"
    settings = servers.settings("valkey", database_url=database.url, redis_key_prefix=prefix)
    stateroom.setup(app, settings, known_users=hook)
    app.add_routes(routes)
    server = TestServer(app)
    async with server:
        await settled(app)
        yield server


async def taken_back(server: TestServer, database: UserDatabase) -> tuple[Visitor, Visitor]:
    """The database goes back to when it knew Ada alone. Bob came later. Carla's sign-out since is missing, too."""
    ada, bob, carla = [Visitor(server, name) for name in ("ada", "bob", "carla")]
    tail = server.app[PARTS].tail
    await asyncio.to_thread(database.change, "INSERT INTO people VALUES ('ada'), ('carla')")
    await ada.come_in()
    await carla.come_in()
    await asyncio.to_thread(database.back_up)
    await asyncio.to_thread(database.change, "INSERT INTO people VALUES ('bob')")
    await bob.come_in()
    before = tail.highest
    assert (await carla.call("POST", "/out"))[0] == 200

    async def has_read() -> bool:
        return tail.highest > before

    await until(has_read, "the sign-out was read from the journal")
    assert (await ada.seen(), await bob.seen()) == ("ada", "bob")
    await asyncio.to_thread(database.restore)
    return ada, bob


async def test_a_session_of_a_user_whom_the_application_does_not_know_is_ended(
    servers: Servers, database: UserDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_users, "SECOND_LOOK_SECONDS", 0.5)

    async def known(ids: Collection[UserId]) -> Collection[UserId]:
        return set(await asyncio.to_thread(database.ask, "SELECT name FROM people")) & set(ids)

    async with serving(servers, database, known) as server:
        ada, bob = await taken_back(server, database)
        seen = set()

        async def is_out() -> bool:
            seen.add(await bob.seen())
            return "unknown-user" in seen

        await until(is_out, "Bob's session has ended")
        assert seen <= {"bob", "unavailable", "unknown-user"}
        assert await ada.seen() == "ada"


async def test_without_the_function_nobodys_session_is_ended(servers: Servers, database: UserDatabase) -> None:
    async with serving(servers, database, None) as server:
        ada, bob = await taken_back(server, database)
        tail = server.app[PARTS].tail

        async def is_over() -> bool:
            return tail.restarts > 0 and tail.has_read and tail.restored is None

        await until(is_over, "the restore was noticed, and is cleared up")
        assert (await ada.seen(), await bob.seen()) == ("ada", "bob")
