"""A server that folds the names of headers, PHP's own, never takes a client's header for the one that names the user."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..conftest import require_tool
from .cases import FETCH, Door, cookie_of
from .cases_of_identity import FOLDED, OVERWRITTEN
from .shipped import APPLICATION, COMMANDS, PROXY, STATEROOM, running, started
from .test_ten_lines import DEMO, listens

PROGRAM = """<?php
header("Content-Type: application/json");
echo json_encode(array_filter($_SERVER, fn ($name) => str_starts_with($name, "HTTP_"), ARRAY_FILTER_USE_KEY));
"""
FORGED = "2"


@pytest.fixture
async def php(tmp_path: Path) -> AsyncIterator[int]:
    """The port of an application in PHP, which answers with the headers that it got, by their names there."""
    folder, port = tmp_path / "php", free_port()
    folder.mkdir()
    (folder / "index.php").write_text(PROGRAM, encoding="utf-8")
    async with started([require_tool("php"), "-S", f"127.0.0.1:{port}", str(folder / "index.php")], folder):
        await until(lambda: listens(port), "PHP listens")
        yield port


async def test_php_folds_names(php: int) -> None:
    """So the other test tests something."""
    async with aiohttp.ClientSession() as http:
        for name in ("Remote-User", "Remote_User", "Remote.User"):
            async with http.get(f"http://127.0.0.1:{php}/", headers={name: FORGED}) as response:
                assert (await response.json())["HTTP_REMOTE_USER"] == FORGED


@pytest.mark.timeout(120)
async def test_php_never_sees_another_user(php: int, tmp_path: Path) -> None:
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "ACCESS_DEFAULT": "signed-in", "COOKIE_SECURE": "false"}
    async with AsyncExitStack() as stack:
        service = stack.enter_context(Serving(tmp_path, LOGIN_URL="/.stateroom/login", **settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        for proxy in COMMANDS:
            ports = {STATEROOM: service.port, APPLICATION: php, PROXY: free_port()}
            async with running(proxy, tmp_path / proxy, ports):
                door = Door(proxy, f"http://127.0.0.1:{ports[PROXY]}", http)
                await until(partial(answers, door), f"{proxy} answers", seconds=30)
                await forges(door)


async def forges(door: Door) -> None:
    cookie = cookie_of(await door.own("/api/auth/login", "POST", DEMO))
    assert await users(door, [("Cookie", cookie)]) == "1"
    assert await users(door, [("Remote-User", FORGED), ("Cookie", cookie)]) == "1"
    for forged in (*OVERWRITTEN, *FOLDED, [("Remote.User", FORGED)]):
        sent = [(name, FORGED) if name != "Connection" else (name, value) for name, value in forged]
        assert await users(door, [*sent, ("Cookie", cookie)]) in {"1", None}, (door.proxy, sent)


async def answers(door: Door) -> bool:
    try:
        return (await door.own("/api/auth/check")).status == 200
    except aiohttp.ClientError:
        return False


async def users(door: Door, headers: list[tuple[str, str]]) -> str | None:
    """The user whom PHP sees; None if the request did not get there."""
    answer = await door.ask("/", headers=[*FETCH.items(), *headers])
    if answer.status != 200:
        assert answer.status in {400, 403}, answer
        return None
    seen = json.loads(answer.text)
    assert FORGED not in {value for name, value in seen.items() if name.startswith("HTTP_REMOTE")}, seen
    return str(seen["HTTP_REMOTE_USER"])
