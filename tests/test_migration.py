"""The examples of docs/migration.md, run unchanged, with the real aiohttp-session before the move."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import aiohttp_session
import pytest
import redis.asyncio
from aiohttp import CookieJar, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from aiohttp_session.redis_storage import RedisStorage
from cryptography.fernet import Fernet

import stateroom
from stateroom import testing

from .documents import examples
from .servers import Servers

# aiohttp-session keeps its objects in requests under plain names.
pytestmark = pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")


def example(number: int) -> dict[str, Any]:
    """The names that an example of the page defines."""
    names: dict[str, Any] = {}
    exec(compile(examples("migration.md", "python")[number], "migration.md", "exec"), names)  # The page is our own file.
    return names


async def cookie_before(storage: aiohttp_session.AbstractStorage) -> str:
    async def visit(request: web.Request) -> web.Response:
        (await aiohttp_session.get_session(request)).update(user_id=42, cart=["tea"])
        return web.Response()

    app = web.Application()
    aiohttp_session.setup(app, storage)
    app.add_routes([web.get("/", visit)])
    async with TestClient(TestServer(app)) as browser, browser.get("/") as response:
        return f"AIOHTTP_SESSION={response.cookies['AIOHTTP_SESSION'].value}"


async def whose(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    return web.json_response({"user": session.user_id, "cart": session.get("cart")})


async def test_a_session_in_redis_goes_on(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = servers.valkey
    client = redis.asyncio.Redis(host=node.host, port=node.port)
    cookie = await cookie_before(RedisStorage(client))
    await client.aclose()
    settings = servers.service_settings(tmp_path)
    monkeypatch.setattr(stateroom, "setup", lambda app, real=stateroom.setup: real(app, settings))
    app = example(0)["make_app"](f"redis://{node.host}:{node.port}")
    app.add_routes([web.get("/", whose)])
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as browser:
        async with browser.get("/", headers={"Cookie": cookie}) as response:
            assert await response.json() == {"user": 42, "cart": ["tea"]}
            ours = response.cookies["session_id"].value
        async with browser.get("/", headers={"Cookie": f"session_id={ours}"}) as response:
            assert await response.json() == {"user": 42, "cart": ["tea"]}


async def test_a_session_in_a_cookie_goes_on() -> None:
    key = Fernet.generate_key()
    cookie = await cookie_before(EncryptedCookieStorage(base64.urlsafe_b64decode(key), max_age=3600))
    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    example(1)["carry_cookies_over"](app, key)
    app.add_routes([web.get("/", whose)])
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as browser:
        async with browser.get("/", headers={"Cookie": cookie}) as response:
            assert await response.json() == {"user": 42, "cart": ["tea"]}
            assert response.cookies["AIOHTTP_SESSION"]["max-age"] == "0"
            ours = response.cookies["session_id"].value
        for _ in range(2):
            async with browser.get("/", headers={"Cookie": f"session_id={ours}; {cookie}"}) as response:
                assert await response.json() == {"user": 42, "cart": ["tea"]}
                assert "session_id" not in response.cookies
        forged = Fernet(Fernet.generate_key()).encrypt(b'{"session": {"user_id": 1}}').decode()
        async with browser.get("/", headers={"Cookie": f"AIOHTTP_SESSION={forged}"}) as response:
            assert await response.json() == {"user": None, "cart": None}


async def test_a_redirect_takes_the_old_cookie_away_and_a_sign_out_holds() -> None:
    key = Fernet.generate_key()
    cookie = await cookie_before(EncryptedCookieStorage(base64.urlsafe_b64decode(key), max_age=3600))

    async def enter(request: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/")

    async def leave(request: web.Request) -> web.Response:
        await stateroom.sign_out(request)
        return web.Response()

    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    example(1)["carry_cookies_over"](app, key)
    app.add_routes([web.get("/", whose), web.get("/enter", enter), web.post("/leave", leave)])
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as browser:
        name, _, value = cookie.partition("=")
        browser.session.cookie_jar.update_cookies({name: value}, browser.make_url("/"))
        async with browser.get("/enter") as response:
            assert await response.json() == {"user": 42, "cart": ["tea"]}
        assert {each.key for each in browser.session.cookie_jar} == {"session_id"}
        async with browser.post("/leave") as response:
            assert response.status == 200
        async with browser.get("/") as response:
            assert await response.json() == {"user": None, "cart": None}


async def test_an_old_cookie_beside_a_session_is_taken_away() -> None:
    """The first answer may not have reached the browser, or it was a stream that began before the handler returned."""
    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    example(1)["carry_cookies_over"](app, Fernet.generate_key())
    app.add_routes([web.get("/", whose)])
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as browser:
        await testing.sign_in_as(browser, 42)
        browser.session.cookie_jar.update_cookies({"AIOHTTP_SESSION": "old"}, browser.make_url("/"))
        async with browser.get("/") as response:
            assert response.cookies["AIOHTTP_SESSION"]["max-age"] == "0"
