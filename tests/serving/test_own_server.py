"""The filter of docs/security.md: aiohttp's own server does not log a malformed cookie."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ..documents import examples

SECRET = b"c2VjcmV0"


async def exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    return received.partition(b"\r\n")[0]


async def test_the_filter_drops_malformed_requests_and_keeps_other_errors(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise RuntimeError("a fault of the application")

    app = web.Application()
    app.router.add_get("/", fail)
    logger = logging.getLogger("aiohttp.server")
    before = list(logger.filters)
    [filtered] = examples("security.md", "python")
    exec(compile(filtered, "docs/security.md", "exec"), {})
    try:
        async with TestServer(app, host="127.0.0.1") as server:
            malformed = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: s=" + SECRET + b"\x01\r\n\r\n"
            assert b" 400 " in await exchange(server.port or 0, malformed)
            assert SECRET.decode() not in caplog.text
            faulty = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            assert b" 500 " in await exchange(server.port or 0, faulty)
            assert "a fault of the application" in caplog.text
    finally:
        logger.filters[:] = before
