"""Cookie settings change under one name while browsers keep the cookies of before: with curl's cookie jar."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from stateroom.sessions.sealing.key_ring import new_key

from ..conftest import require_tool
from ..servers import Servers
from .test_doubled_cookies import make_app

HOST = "app.example.test"
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a domain is set", {}, {"cookie_domain": "example.test"}, "/"),
    ("the domain is unset", {"cookie_domain": "example.test"}, {}, "example.test"),
    ("the domain becomes narrower", {"cookie_domain": "example.test"}, {"cookie_domain": HOST}, "example.test"),
    ("the path becomes narrower", {}, {"cookie_path": "/app"}, "/"),
    ("the path becomes wider", {"cookie_path": "/app"}, {}, "/app"),
    ("both change", {"cookie_path": "/app", "cookie_domain": "example.test"}, {"cookie_domain": HOST}, "example.test/app"),
]


@dataclass
class Curl:
    """A client with curl's cookie jar, and the application under the settings of before and of now."""

    jar: Path
    before: TestServer
    now: TestServer

    async def ask(self, server: TestServer, path: str, method: str = "GET") -> tuple[Any, str]:
        """The answer's body and headers."""
        process = await asyncio.create_subprocess_exec(
            require_tool("curl"), "-sS", "--cookie", str(self.jar), "--cookie-jar", str(self.jar), "--dump-header", "-",
            "--resolve", f"{HOST}:{server.port}:127.0.0.1", "-X", method, f"http://{HOST}:{server.port}{path}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0
        headers, _, body = output.decode().partition("\r\n\r\n")
        return json.loads(body), headers

    async def user(self) -> Any:
        return (await self.ask(self.now, "/app/me"))[0]["user"]

    def kept(self) -> list[tuple[str, str]]:
        """The domains and paths of our cookies in the jar. One without a value lives for another second."""
        lines = self.jar.read_text(encoding="utf-8").splitlines()
        found = [line.removeprefix("#HttpOnly_").split("\t") for line in lines if "\tsid\t" in line]
        return [(each[0], each[2]) for each in found if each[6]]


@pytest.fixture(params=CHANGES, ids=[each[0] for each in CHANGES])
async def curl(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[Curl]:
    _, before, now, former = request.param
    same = {"session_name": "sid", "cookie_keys": new_key(), "redis_key_prefix": f"t{tmp_path.name}"[:60]}
    async with AsyncExitStack() as stack:
        apps: list[Any] = [
            await stack.enter_async_context(TestServer(make_app(servers.settings("valkey", **same, **each))))
            for each in (before, now | {"cookie_former": former})
        ]
        yield Curl(tmp_path / "jar", apps[0], apps[1])


async def test_nobody_is_signed_out_by_the_change(curl: Curl) -> None:
    await curl.ask(curl.before, "/app/in/7", "POST")
    assert await curl.user() == 7


async def test_a_sign_in_holds_and_leaves_one_cookie(curl: Curl) -> None:
    for user in (7, 8):
        curl.jar.unlink(missing_ok=True)
        await curl.ask(curl.before, "/app/in/7", "POST")
        await curl.ask(curl.now, f"/app/in/{user}", "POST")
        assert len(curl.kept()) == 1
        assert await curl.user() == user


async def test_a_sign_in_in_the_state_of_two_cookies_holds_and_leaves_one(curl: Curl) -> None:
    for user in (7, 8):
        curl.jar.unlink(missing_ok=True)
        await _two_cookies(curl, 7, user)
        assert len(curl.kept()) == 2
        await curl.ask(curl.now, "/app/in/9", "POST")
        assert len(curl.kept()) == 1
        assert await curl.user() == 9


async def test_cookies_of_two_users_are_dropped_and_the_answer_says_so(curl: Curl) -> None:
    await _two_cookies(curl, 7, 8)
    answer, headers = await curl.ask(curl.now, "/app/me")
    assert answer["user"] is None
    assert re.search(r"(?im)^x-session-cookie: ambiguous", headers)
    assert curl.kept() == []


async def test_a_sign_out_ends_both_and_leaves_none(curl: Curl) -> None:
    await _two_cookies(curl, 7, 7)
    cookies = curl.jar.read_text(encoding="utf-8")
    await curl.ask(curl.now, "/app/out", "POST")
    assert curl.kept() == []
    curl.jar.write_text(cookies, encoding="utf-8")  # replayed
    assert await curl.user() is None


async def _two_cookies(curl: Curl, before: int, now: int) -> None:
    """The jar of a browser that has signed in under both settings, without the answer that drops the former cookie."""
    await curl.ask(curl.before, f"/app/in/{before}", "POST")
    kept = curl.jar.read_text(encoding="utf-8")
    curl.jar.unlink()
    await curl.ask(curl.now, f"/app/in/{now}", "POST")
    with curl.jar.open("a", encoding="utf-8") as jar:
        jar.writelines(f"{line}\n" for line in kept.splitlines() if "\tsid\t" in line)


async def test_a_partitioned_cookie_is_kept_and_dropped_by_a_client_that_knows_none(servers: Servers) -> None:
    same = {"session_name": "__Host-sid", "cookie_keys": new_key(), "cookie_secure": True, "cookie_samesite": "None"}
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(TestServer(make_app(servers.settings("valkey", **same))))
        now = await stack.enter_async_context(TestServer(make_app(servers.settings("valkey", **same, cookie_partitioned=True))))
        origins = [server.make_url("/").origin() for server in (before, now)]
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=origins)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))

        async def user(server: Any) -> Any:
            async with http.get(server.make_url("/me")) as response:
                return (await response.json())["user"]

        await http.post(before.make_url("/in/7"))
        assert await user(now) == 7  # the cookie from before counts
        async with http.post(now.make_url("/in/8")) as response:
            lines = response.headers.getall("Set-Cookie")
        assert [line.endswith("; Secure; Partitioned") for line in lines] == [False, True]
        assert await user(now) == 8
        async with http.post(now.make_url("/out")) as response:
            assert response.headers.getall("Set-Cookie")[-1].endswith("; Secure; Partitioned")
        assert await user(now) is None
        assert not [each for each in jar if each.key == "__Host-sid" and each.value]
