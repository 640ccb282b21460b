"""An application before and after its move from aiohttp-session to Stateroom."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp_session
import redis.asyncio
from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp_session.redis_storage import RedisStorage

import stateroom
from stateroom import SESSIONS, Settings, carry_over
from stateroom.drills.node import Node

from ..conftest import ServiceClient

KeyFactory = Callable[[], str]


def new_key() -> str:
    """As `RedisStorage` makes keys by itself."""
    return uuid.uuid4().hex


async def whose(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "data": dict(session), "ended": session.ended, "id": session.id})


async def page(request: web.Request) -> web.Response:
    return web.Response(text="a page for anybody")


async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return web.json_response({})


@contextlib.asynccontextmanager
async def moved(settings: Settings, node: Node) -> AsyncIterator[ServiceClient]:
    """One worker of the application after its move. The client keeps no cookies."""
    app = web.Application()
    stateroom.setup(app, settings)
    carry_over(app, redis_url=f"redis://{node.host}:{node.port}/0", user_key="user_id")
    app.add_routes([web.get("/", whose), web.get("/page", page), web.post("/sign-out", sign_out)])
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
        yield client


@contextlib.asynccontextmanager
async def before(node: Node, key_factory: KeyFactory = new_key, /, **data: Any) -> AsyncIterator[TestServer]:
    """The old application. A visit stores this data."""

    async def visit(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request)).update(data)
        return web.Response()

    client = redis.asyncio.Redis(host=node.host, port=node.port)
    app = web.Application()
    aiohttp_session.setup(app, RedisStorage(client, max_age=3600, key_factory=key_factory))
    app.add_routes([web.get("/", visit)])
    server = TestServer(app)
    async with server:
        yield server
    await client.aclose()


async def before_the_move(node: Node, key_factory: KeyFactory = new_key, /, **data: Any) -> str:
    """Visit the old application. Returns the value of its cookie as a browser keeps it: as it was sent (RFC 6265, 5.2)."""
    async with before(node, key_factory, **data) as server, TestClient(server) as browser, browser.get("/") as response:
        [cookie] = response.headers.getall("Set-Cookie")
        return cookie.partition(";")[0].partition("=")[2]


async def ask(client: ServiceClient, cookie: str, path: str = "/", method: str = "GET") -> tuple[int, Any, str]:
    """The status, the answer, and Stateroom's cookie in it."""
    async with client.request(method, path, headers={"Cookie": cookie}) as response:
        is_json = "json" in response.content_type
        ours = response.cookies.get("session_id")
        return (
            response.status,
            await response.json() if is_json else await response.text(),
            f"session_id={ours.value}" if ours else "",
        )


async def stored(node: Node, cookie: str) -> Any:
    raw = await node.call("GET", f"AIOHTTP_SESSION_{cookie}")
    return None if raw is None else json.loads(raw)


def old(cookie: str) -> str:
    return f"AIOHTTP_SESSION={cookie}"


def manager_of(client: ServiceClient) -> stateroom.SessionManager:
    assert client.app is not None
    return client.app[SESSIONS]
