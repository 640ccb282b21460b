"""A request for a fixed path gets the answer that aiohttp's router would have given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from stateroom.serving.runner import Runner

MARKS = web.RequestKey("marks", str)


class Service:
    """An application with a middleware, and a record of calls to its handlers and its router."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.resolved: list[str] = []
        self.app = web.Application(middlewares=[self.outer, self.inner])
        self.app.add_routes(
            [
                web.get("/fixed", self.tell),
                web.post("/fixed", self.tell),
                web.get("/wait", self.wait),
                web.get("/of/{name}", self.tell),
            ]
        )
        resolve = self.app.router.resolve

        async def noted(request: web.Request) -> web.UrlMappingMatchInfo:
            self.resolved.append(str(request.rel_url))
            return await resolve(request)

        self.app.router.resolve = noted  # type: ignore[method-assign]

    @web.middleware
    async def outer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self._marked("outer", request, handler)

    @web.middleware
    async def inner(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self._marked("inner", request, handler)

    async def tell(self, request: web.Request) -> web.Response:
        route = request.match_info.route.resource
        assert route is not None
        told = [route.canonical, request.method, request.path_qs, dict(request.match_info), request.app is self.app]
        return web.json_response(told, headers={"Marks": request[MARKS], "Body": str(len(await request.read()))})

    async def wait(self, request: web.Request) -> web.Response:
        await self.gate.wait()
        return web.Response(text=str(request.app is self.app))

    async def _marked(self, mark: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert request.app is self.app
        request[MARKS] = request.get(MARKS, "") + mark
        return await handler(request)


@asynccontextmanager
async def served(service: Service, *, by_fixed_routes: bool) -> AsyncIterator[aiohttp.ClientSession]:
    runner = Runner(service.app, {}) if by_fixed_routes else web.AppRunner(service.app, access_log=None)
    await runner.setup()
    service.resolved.clear()  # what was asked before the first request
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "path", "asks_router"),
    [
        ("GET", "/fixed", False),
        ("HEAD", "/fixed", False),
        ("POST", "/fixed", False),
        ("PUT", "/fixed", True),
        ("GET", "/fixed?a=b", True),
        ("GET", "/%66ixed", True),
        ("GET", "/fixed/", True),
        ("GET", "/of/somebody", True),
        ("GET", "/nowhere", True),
    ],
)
async def test_an_answer_is_the_routers(method: str, path: str, asks_router: bool, knows_aiohttp: bool) -> None:
    answers = []
    for by_fixed_routes in (False, True):
        service = Service()
        url = URL(path, encoded=True)
        async with (
            served(service, by_fixed_routes=by_fixed_routes) as client,
            client.request(method, url, data=b"four" if method in {"POST", "PUT"} else None) as response,
        ):
            headers = {name: value for name, value in response.headers.items() if name != "Date"}
            answers.append((response.status, headers, await response.text()))
        assert bool(service.resolved) is (asks_router or not by_fixed_routes or not knows_aiohttp)
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("knows_aiohttp")
async def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    service = Service()
    async with served(service, by_fixed_routes=True) as client, client.post("/fixed", data=b"four", expect100=True) as response:
        assert response.headers["Body"] == "4"
    assert service.resolved == ["/fixed"]


async def test_requests_at_the_same_time_share_a_match_and_keep_their_application(knows_aiohttp: bool) -> None:
    service = Service()
    async with served(service, by_fixed_routes=True) as client:
        waiting = [asyncio.create_task(client.get("/wait")) for _ in range(5)]
        async with client.get("/fixed") as response:
            assert response.headers["Marks"] == "outerinner"
        service.gate.set()
        assert [await (await each).text() for each in waiting] == ["True"] * 5
    assert bool(service.resolved) is not knows_aiohttp
