"""Ready answers: their bytes equal aiohttp's, and other code can use them as ordinary responses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pytest_aiohttp import AiohttpClient

from stateroom import ready
from stateroom.app import make_app
from stateroom.ready import JSON_LINES, CommonLines, ReadyResponse

from .api.forward.asking import FORWARD, NGINX, SETTINGS, told
from .conftest import ServiceClient
from .servers import Servers

BODY = b'{"a":1}'
COMMON = {"Server": "here", "X-Kind": "common"}
OWN = "X-Own: 1\r\n"

Touch = Callable[[web.Response], object]
TOUCHES: dict[str, Touch] = {
    "a header": lambda answer: answer.headers.add("X-More", "more"),
    "a cookie": lambda answer: answer.set_cookie("name", "value"),
    "another status": lambda answer: answer.set_status(503),
    "another body": lambda answer: setattr(answer, "text", "other"),
    "compression": lambda answer: answer.enable_compression(web.ContentCoding.gzip),
    "the connection's end": lambda answer: answer.force_close(),
}


async def set_common(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(COMMON)


class Place:
    """An application that answers `/ready` with a ready answer, and `/plain` with aiohttp's response of the same content."""

    def __init__(self) -> None:
        self.touch: Touch = lambda answer: None
        self.was_ready: bool | None = None
        self.app = web.Application(middlewares=[self._complete])
        self.app.on_response_prepare.append(set_common)
        self.common = CommonLines(COMMON, stands_for=self.app.on_response_prepare)
        self.app.on_startup.append(self.common.serve)
        self.app.router.add_get("/ready", self._ready)
        self.app.router.add_get("/plain", self._plain)

    @web.middleware
    async def _complete(self, request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, ReadyResponse):
            self.was_ready = response.complete(request, OWN, self.common)
            if self.was_ready:
                return response
        response.headers["X-Own"] = "1"
        return response

    async def _ready(self, request: web.Request) -> web.Response:
        answer = ready.ready_response(BODY, JSON_LINES)
        self.touch(answer)
        return answer

    async def _plain(self, request: web.Request) -> web.Response:
        answer = web.Response(body=BODY, headers=[tuple(line.split(": ")) for line in JSON_LINES.splitlines()])  # type: ignore[misc]
        self.touch(answer)
        return answer


Told = tuple[int, str | None, list[tuple[str, str]], bytes]


async def ask(client: ServiceClient, path: str, method: str = "GET") -> Told:
    async with client.request(method, path) as response:
        lines = sorted((name, value) for name, value in response.headers.items() if name != "Date")
        assert "Date" in response.headers
        return response.status, response.reason, lines, await response.read()


async def test_the_same_answer_leaves_on_both_ways(aiohttp_client: AiohttpClient, knows_aiohttp: bool) -> None:
    place = Place()
    client = await aiohttp_client(place.app)
    for _ in range(3):  # The connection stays open.
        assert await ask(client, "/ready") == await ask(client, "/plain")
        assert bool(place.was_ready) is knows_aiohttp


@pytest.mark.usefixtures("knows_aiohttp")
@pytest.mark.parametrize("what", TOUCHES)
async def test_an_answer_that_somebody_touched_is_an_ordinary_one(aiohttp_client: AiohttpClient, what: str) -> None:
    place = Place()
    place.touch = TOUCHES[what]
    client = await aiohttp_client(place.app)
    assert await ask(client, "/ready") == await ask(client, "/plain")
    assert not place.was_ready or what == "another body"


@pytest.mark.usefixtures("knows_aiohttp")
async def test_head_has_the_length_and_no_body(aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(Place().app)
    told = await ask(client, "/ready", "HEAD")
    assert told == await ask(client, "/plain", "HEAD")
    assert told[3] == b""


@pytest.mark.usefixtures("knows_aiohttp")
async def test_a_signal_of_somebody_else_is_heard(aiohttp_client: AiohttpClient) -> None:
    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Mark"] = "marked"

    place = Place()
    place.app.on_response_prepare.append(mark)
    client = await aiohttp_client(place.app)
    assert ("X-Mark", "marked") in (await ask(client, "/ready"))[2]

    inner, outer = Place(), web.Application()
    outer.on_response_prepare.append(mark)
    outer.add_subapp("/inner", inner.app)
    client = await aiohttp_client(outer)
    assert ("X-Mark", "marked") in (await ask(client, "/inner/ready"))[2]


@pytest.mark.usefixtures("knows_aiohttp")
async def test_what_an_answer_says_of_itself() -> None:
    answer = ready.ready_response(BODY, JSON_LINES)
    assert (answer.status, answer.reason, answer.text, answer.content_type) == (200, "OK", BODY.decode(), "application/json")
    assert not answer.prepared
    note = web.ResponseKey("note", int)
    answer[note] = 1
    assert answer[note] == 1
    created = ready.ready_response(b"", JSON_LINES, status=201)
    assert (created.status, created.reason) == (201, "Created")


@pytest.mark.usefixtures("knows_aiohttp")
async def test_a_client_that_does_not_read_is_waited_for() -> None:
    """A client that sends requests and reads no answers: no more answers are made than the buffers hold."""
    place, answered, seen = Place(), 0, list[web.Request]()

    async def count(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        seen.append(request)
        return ready.ready_response(BODY * 10_000, JSON_LINES)

    place.app.router.add_get("/large", count)
    async with TestServer(place.app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n" * 1000)
        async with asyncio.timeout(10):
            while not (seen and seen[0].protocol.writing_paused):
                await asyncio.sleep(0.005)
        assert 0 < answered < 1000
        while (await reader.read(1 << 20)) and answered < 1000:
            pass
        assert answered == 1000
        writer.close()


async def test_a_client_that_has_gone_is_no_error() -> None:
    class Gone:
        transport = None

    answer = ReadyResponse(BODY, JSON_LINES)
    answer._bytes = b"ready"
    with pytest.raises(ConnectionError):
        await answer.prepare(Gone())  # type: ignore[arg-type]


async def test_checks_and_forward_auth_take_the_quick_way(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch, knows_aiohttp: bool
) -> None:
    were_ready: list[bool] = []
    complete = ReadyResponse.complete

    def seen(self: ReadyResponse, request: web.Request, lines: str, common: CommonLines) -> bool:
        were_ready.append(complete(self, request, lines, common))
        return were_ready[-1]

    monkeypatch.setattr(ReadyResponse, "complete", seen)
    client = await aiohttp_client(make_app(servers.service_settings(tmp_path, **SETTINGS)))
    body = {"email": "demo@example.com", "password": "password123", "name": "Demo"}
    async with client.post("/api/auth/register", json=body) as response:
        assert response.status == 201
    were_ready.clear()
    for path in ("/api/auth/check", FORWARD, NGINX):
        async with client.get(path, headers=told(path)) as response:
            assert response.status == 200
    assert were_ready == ([True, True, True] if knows_aiohttp else [])
