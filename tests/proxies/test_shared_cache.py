"""A shared cache in front of an application never hands one visitor's session to another, whatever its handlers say of caching."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stateroom
from stateroom import SESSIONS, testing
from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..servers import Servers
from .shared_caches import CACHES, curl
from .shipped import started

PUBLIC = "public, max-age=3600"
VARIANTS: list[list[tuple[str, str]]] = [
    [("Cache-Control", PUBLIC)],
    [("Cache-Control", "PUBLIC"), ("Cache-Control", "s-maxage=3600")],
    [("Cache-Control", "max-age=3600, immutable")],
    [("Cache-Control", 'private="Set-Cookie", max-age=3600')],
    [("Cache-Control", "no-store, must-understand, max-age=3600")],
    [("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Pragma", "public")],
    [("Cache-Control", "no-cache"), ("CDN-Cache-Control", PUBLIC), ("Cloudflare-CDN-Cache-Control", PUBLIC)],
    [("Cache-Control", PUBLIC), ("Surrogate-Control", "max-age=3600"), ("X-Accel-Expires", "3600"), ("Vary", "Accept-Encoding")],
]
Make: TypeAlias = Callable[[AsyncExitStack, float], Awaitable["Street"]]
COUNT: web.AppKey[Any] = web.AppKey("count")
FOR_CDNS = ("cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "x-accel-expires", "expires", "pragma")


def answer(request: web.Request, user: Any, headers: list[tuple[str, str]]) -> web.Response:
    """`asked`: the number of this answer. An answer that a cache has kept has a number that was there before."""
    response = web.json_response({"user": user, "asked": next(request.app[COUNT])})
    response.headers.extend([*headers, ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")])
    return response


async def page(request: web.Request) -> web.Response:
    return answer(request, stateroom.get_session(request).user_id, VARIANTS[int(request.match_info["variant"])])


async def welcome(request: web.Request) -> web.Response:
    user = 100 + next(request.app[COUNT])
    await stateroom.sign_in(request, user)
    return answer(request, user, VARIANTS[int(request.match_info["variant"])])


async def bye(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    return answer(request, None, VARIANTS[int(request.match_info["variant"])])


async def brochure(request: web.Request) -> web.Response:
    return answer(request, "anybody", [("Cache-Control", PUBLIC)])


async def checked(request: web.Request) -> web.Response:
    """The cache asks each time whether what it has kept is still good."""
    headers = [("Cache-Control", "public, max-age=0, must-revalidate"), ("ETag", '"1"')]
    if request.headers.get("If-None-Match") == '"1"':
        return web.Response(status=304, headers=headers)
    return answer(request, "anybody", headers)


async def sign_in(request: web.Request) -> web.Response:
    await stateroom.sign_in(request, int(request.match_info["user"]))
    return web.json_response({})


@dataclass
class Street:
    """One application behind one cache, and visitors with a cookie jar each."""

    url: str
    folder: Path
    app: web.Application
    names: itertools.count[int] = field(default_factory=itertools.count)

    async def visitor(self, user: int | None = None) -> Visitor:
        visitor = Visitor(self, self.folder / f"jar-{next(self.names)}")
        if user is not None:
            await curl(visitor.jar, f"{self.url}/in/{user}", "-X", "POST")
        return visitor


@dataclass
class Visitor:
    street: Street
    jar: Path

    async def get(self, path: str, *words: str) -> tuple[Any, dict[str, str]]:
        testing.clock(self.street.app).move(seconds=1)  # a renewal's interval is over, also where clocks differ by milliseconds
        body, lines = await curl(self.jar, f"{self.street.url}{path}", *words)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return json.loads(body) if body else None, headers

    async def user(self, path: str) -> Any:
        return (await self.get(path))[0]["user"]

    @property
    def cookie(self) -> str | None:
        """The value of the session cookie in the jar."""
        lines = self.jar.read_text(encoding="utf-8").splitlines() if self.jar.exists() else []
        return next((line.rpartition("\t")[2] for line in lines if "\tsession_id\t" in line), None)


@pytest.fixture(params=CACHES)
def make_street(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Make:
    async def made(stack: AsyncExitStack, renew_interval: float) -> Street:
        app = web.Application()
        app[COUNT] = itertools.count(1)
        stateroom.setup(app, servers.settings("valkey", session_renew_interval=renew_interval))
        app.add_routes(
            [
                web.post("/in/{user}", sign_in),
                web.get("/page/{variant}", page),
                web.get("/welcome/{variant}", welcome),
                web.get("/bye/{variant}", bye),
                web.get("/brochure", brochure),
                web.get("/checked", checked),
            ]
        )
        server = await stack.enter_async_context(TestServer(app))
        folder, port = tmp_path / "cache", free_port()
        folder.mkdir()
        command = CACHES[request.param](folder, port, server.port or 0)
        process = await stack.enter_async_context(started(command, folder))
        street = Street(f"http://127.0.0.1:{port}", tmp_path, app)

        async def is_up() -> bool:
            assert process.returncode is None, (folder / "log").read_text()
            with contextlib.suppress(AssertionError, ValueError):
                return bool(await (await street.visitor()).user("/brochure") == "anybody")
            return False

        await until(is_up, f"{request.param} answers", seconds=30)
        return street

    return made


@pytest.fixture
async def due(make_street: Make) -> AsyncIterator[Street]:
    """A renewal is due with every request of somebody who has a session."""
    async with AsyncExitStack() as stack:
        yield await make_street(stack, 0.001)


@pytest.fixture
async def fresh(make_street: Make) -> AsyncIterator[Street]:
    """No renewal is due."""
    async with AsyncExitStack() as stack:
        yield await make_street(stack, 60)


async def test_the_cache_keeps_what_has_to_do_with_nobody(due: Street) -> None:
    first, second = await due.visitor(), await due.visitor()
    assert (await first.get("/brochure"))[0] == (await second.get("/brochure"))[0]


@pytest.mark.parametrize("variant", range(len(VARIANTS)), ids=lambda number: str(VARIANTS[number][:2]))
async def test_an_answer_that_sets_or_clears_the_cookie_is_for_one_visitor(due: Street, variant: int) -> None:
    seven, stranger, eight = await due.visitor(7), await due.visitor(), await due.visitor(8)
    before = seven.cookie
    told, headers = await seven.get(f"/page/{variant}")
    assert (told["user"], headers["cache-control"]) == (7, "no-store")
    assert seven.cookie != before, "a renewal was due"
    assert not [name for name in FOR_CDNS if name in headers]
    assert [await each.user(f"/page/{variant}") for each in (stranger, eight, stranger, seven)] == [None, 8, None, 7]
    assert stranger.cookie is None
    assert eight.cookie != seven.cookie

    new, other = await due.visitor(), await due.visitor()
    users = [await new.user(f"/welcome/{variant}"), await other.user(f"/welcome/{variant}")]
    assert users[0] != users[1]
    assert [await each.user(f"/page/{variant}") for each in (new, other)] == users
    numbers = [(await each.get(f"/bye/{variant}"))[0]["asked"] for each in (new, other)]
    assert numbers[0] != numbers[1]
    assert (new.cookie, other.cookie) == (None, None)


async def test_a_public_page_that_used_the_session_is_kept_for_its_cookie_alone(fresh: Street) -> None:
    seven, stranger, eight = await fresh.visitor(7), await fresh.visitor(), await fresh.visitor(8)
    for _ in range(2):
        assert [await each.user("/page/0") for each in (seven, stranger, eight)] == [7, None, 8]
    _, headers = await stranger.get("/page/7")
    assert sorted(name.strip() for name in headers["vary"].split(",")) == ["Accept-Encoding", "Cookie"]


async def test_an_answer_to_a_bearer_is_for_nobody_else(due: Street) -> None:
    manager = due.app[SESSIONS]
    bearer = manager.seal(await manager.create(9), "bearer")
    program, stranger = await due.visitor(), await due.visitor()
    for path in ("/page/0", "/page/5", "/page/6", "/page/7"):
        told, headers = await program.get(path, "-H", f"Authorization: Bearer {bearer}")
        assert told["user"] == 9
        assert "private" in headers["cache-control"]
        assert await stranger.user(path) is None


async def test_the_answer_that_a_kept_one_is_still_good_renews_nothing(due: Street) -> None:
    stranger, seven, other = await due.visitor(), await due.visitor(7), await due.visitor()
    kept, _ = await stranger.get("/checked")
    before = seven.cookie
    told, headers = await seven.get("/checked")
    assert told == kept, "the cache asked whether what it has kept is still good"
    assert "set-cookie" not in headers
    assert seven.cookie == before
    # mod_cache_socache loses the body of what it has checked twice, so only the headers are looked at.
    _, headers = await other.get("/checked")
    assert "set-cookie" not in headers
    assert other.cookie is None


async def test_visitors_who_come_at_once_get_their_own(due: Street) -> None:
    visitors = [await due.visitor(user) for user in range(1, 7)]
    seen = await asyncio.gather(*(each.user("/page/0") for each in visitors for _ in range(3)))
    assert seen == [user for user in range(1, 7) for _ in range(3)]
