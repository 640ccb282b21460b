"""Ten lines of nginx in front of an application in another language, both as in docs/forward-auth.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..conftest import require_tool
from ..documents import examples
from .shipped import APPLICATION, PROXY, STATEROOM, moved, nginx_command, started

PAGE = "forward-auth.md"


@pytest.fixture
async def url(tmp_path: Path, serving: Serving) -> AsyncIterator[str]:
    [configuration], [application] = examples(PAGE, "nginx"), examples(PAGE, "js")
    ports = {STATEROOM: serving.port, APPLICATION: free_port(), PROXY: free_port()}
    program = tmp_path / "hello.mjs"
    program.write_text(application.replace(f"listen({APPLICATION}", f"listen({ports[APPLICATION]}"), encoding="utf-8")
    for name in ("nginx", "node"):
        (tmp_path / name).mkdir()
    command = nginx_command(tmp_path / "nginx", moved(configuration, ports))
    async with started(command, tmp_path / "nginx"), started([require_tool("node"), str(program)], tmp_path / "node"):
        for port in (ports[PROXY], ports[APPLICATION]):
            await until(lambda port=port: listens(port), f"something listens on {port}")  # type: ignore[misc]
        yield f"http://127.0.0.1:{ports[PROXY]}"


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
        credentials = {"email": "demo@example.com", "password": "password123"}
        async with http.post(f"{url}/api/auth/login", json=credentials) as response:
            assert response.status == 200
        async with http.get(f"{url}/any/page", headers={"Remote-User": "7", "Remote_User": "8"}) as response:
            assert (response.status, await response.text()) == (200, "Hello, user 1\n")
        async with http.post(f"{url}/api/auth/logout") as response:
            assert response.status == 200
        async with http.get(url) as response:
            assert response.status == 401
