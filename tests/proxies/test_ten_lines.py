"""Ten lines of nginx in front of an application in another language, both as in docs/forward-auth.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..conftest import require_tool
from ..documents import examples
from .cases import FETCH, Door, Headers, cookie_of, echo
from .cases_of_identity import FOLDED, OVERWRITTEN, OWN
from .shipped import APPLICATION, PROXY, STATEROOM, moved, nginx_command, started

PAGE = "forward-auth.md"
DEMO = {"email": "demo@example.com", "password": "password123"}


@contextlib.asynccontextmanager
async def nginx_before(application_port: int, serving: Serving, folder: Path) -> AsyncIterator[str]:
    """The page's nginx in front of an application. Gives its URL."""
    [configuration] = examples(PAGE, "nginx")
    ports = {STATEROOM: serving.port, APPLICATION: application_port, PROXY: free_port()}
    folder.mkdir()
    async with started(nginx_command(folder, moved(configuration, ports)), folder):
        await until(lambda: listens(ports[PROXY]), "nginx listens")
        yield f"http://127.0.0.1:{ports[PROXY]}"


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Stateroom with the settings of the page."""
    [line] = examples(PAGE, "sh")
    settings = dict(word.split("=") for word in line.split() if "=" in word)
    with Serving(tmp_path, **settings) as service:
        yield service


@pytest.fixture
async def url(tmp_path: Path, serving: Serving) -> AsyncIterator[str]:
    [application] = examples(PAGE, "js")
    port = free_port()
    program = tmp_path / "hello.mjs"
    program.write_text(application.replace(f"listen({APPLICATION}", f"listen({port}"), encoding="utf-8")
    (tmp_path / "node").mkdir()
    async with (
        started([require_tool("node"), str(program)], tmp_path / "node"),
        nginx_before(port, serving, tmp_path / "nginx") as made,
    ):
        await until(lambda: listens(port), "the application listens")
        yield made


async def listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


def test_there_are_ten() -> None:
    [configuration] = examples(PAGE, "nginx")
    assert len(configuration.splitlines()) == 10


async def test_the_application_greets_who_is_signed_in_and_nobody_else(url: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(url, headers={"Remote-User": "1"}) as response:
            assert response.status == 401
        async with http.post(f"{url}/.stateroom/api/auth/login", json=DEMO) as response:
            assert response.status == 200
        async with http.get(f"{url}/any/page", headers={"Remote-User": "7", "Remote_User": "8"}) as response:
            assert (response.status, await response.text()) == (200, "Hello, user 1\n")
        async with http.post(f"{url}/.stateroom/api/auth/logout") as response:
            assert response.status == 200
        async with http.get(url) as response:
            assert response.status == 401


async def test_another_host_reaches_neither_the_application_nor_stateroom(url: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.post(f"{url}/.stateroom/api/auth/login", json=DEMO) as response:
            assert response.status == 200
        others = ("app.example.com", "127.0.0.1.example.com", "127x0.0.1")
        for host, status in (("localhost", 200), ("LOCALHOST:8000", 200), *((other, 421) for other in others)):
            async with http.get(url, headers={"Host": host}, cookies=http.cookie_jar.filter_cookies(URL(url))) as response:
                assert response.status == status, host
        async with http.get(f"{url}/.stateroom/login", headers={"Host": "app.example.com"}) as response:
            assert response.status == 421


async def test_the_application_sees_its_own_credentials_and_none_of_ours(serving: Serving, tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/{path:.*}", echo)
    async with (
        TestServer(app) as server,
        nginx_before(server.port or 0, serving, tmp_path / "nginx") as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        door = Door("nginx", url, http, user_id="1")

        async def seen(headers: Headers) -> dict[str, str]:
            answer = await door.ask(headers=headers)
            assert answer.told is not None, answer
            assert answer.identity == {"remote-user": ["1"]}
            return {name: value for name, value in answer.told["headers"] if name in {"Authorization", "Cookie"}}

        cookie = cookie_of(await door.own("/api/auth/login", "POST", DEMO))
        own = {"Authorization": OWN[0]}
        assert await seen(own | {"Cookie": cookie}) == own
        for kind in ("bearer", "access token"):
            ours = await door.credential(kind, DEMO)
            assert await seen({"Authorization": f"Bearer {ours}"}) == {}
            assert await seen({"Authorization": f"Bearer {ours}", "Cookie": cookie}) == {}
        for forged in (*OVERWRITTEN, *FOLDED):
            assert await seen([*FETCH.items(), *forged, ("Cookie", cookie)]) == {}
