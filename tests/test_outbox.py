"""Answers that are sent together. None is overtaken by a later one, and none is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom import ready
from stateroom.outbox import AT_MOST, Outbox
from stateroom.ready import JSON_LINES, CommonLines, ReadyResponse


class Transport:
    def __init__(self, *, is_gone: bool = False) -> None:
        self.written: list[bytes] = []
        self.is_gone = is_gone

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def test_what_one_turn_of_the_loop_puts_in_leaves_before_the_next() -> None:
    outbox, transports = Outbox(asyncio.get_running_loop()), [Transport(), Transport(is_gone=True), Transport()]
    for turn in (b"1", b"2"):
        for each in transports:
            outbox.put(each, turn)  # type: ignore[arg-type]
        assert [each.written for each in transports] == [[b"1"] * (turn == b"2"), [], [b"1"] * (turn == b"2")]
        await asyncio.sleep(0)
    assert [each.written for each in transports] == [[b"1", b"2"], [], [b"1", b"2"]]


async def test_many_do_not_wait_for_each_other() -> None:
    outbox, transport = Outbox(asyncio.get_running_loop()), Transport()
    for _ in range(AT_MOST + 1):
        outbox.put(transport, b"x")  # type: ignore[arg-type]
    assert len(transport.written) == AT_MOST
    await asyncio.sleep(0)
    assert len(transport.written) == AT_MOST + 1


def application(**handlers: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """Run a server whose ready answers go through an outbox."""

    @web.middleware
    async def complete(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        if isinstance(response, ReadyResponse):
            assert response.complete(request, "", common)
        return response

    app = web.Application(middlewares=[complete])
    common = CommonLines({}, stands_for=app.on_response_prepare)
    app.on_startup.append(common.serve)
    app.add_routes([web.get(f"/{name}", handler) for name, handler in handlers.items()])
    return app


async def answer_ready(request: web.Request) -> web.Response:
    return ready.ready_response(request.query_string.encode(), JSON_LINES)


async def plain(request: web.Request) -> web.Response:
    return web.Response(body=request.query_string.encode())


@pytest.mark.usefixtures("knows_aiohttp")
async def test_answers_to_requests_sent_at_once_keep_their_order() -> None:
    async with TestServer(application(ready=answer_ready, plain=plain)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        asked = [f"/{kind}?{number:03}" for number in range(50) for kind in ("ready", "plain")]
        writer.write("".join(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n" for path in asked).encode())
        for path in asked:
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(3)).decode() == path[-3:]
        writer.close()


@pytest.mark.usefixtures("knows_aiohttp")
async def test_an_answer_under_way_is_not_cut_off_by_a_server_that_stops() -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        came.set()
        await go_on.wait()
        return ready.ready_response(b"done", JSON_LINES)

    server = TestServer(application(slow=slow))
    await server.start_server()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
    await came.wait()
    stopping = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    go_on.set()
    assert (await reader.read()).endswith(b"\r\n\r\ndone")
    await stopping
    writer.close()
