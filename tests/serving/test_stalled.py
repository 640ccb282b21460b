"""A client that does not read is cut, and holds no shutdown up. A client that reads slowly stays."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

import stateroom
from stateroom.serving import runner as serving_runner
from stateroom.serving import stalled
from stateroom.serving.process import DRAIN_SECONDS, loop_factory
from stateroom.serving.runner import Runner
from stateroom.telemetry.metrics import Metrics

from ..commands import Serving

MUCH = 30_000_000
LITTLE_BUFFER = 4096


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(MUCH // 100_000):
        await response.write(b"x" * 100_000)
    return response


async def _page(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * MUCH)


@contextlib.asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[tuple[Runner, int]]:
    file = folder / "file.bin"
    file.write_bytes(b"x" * MUCH)
    app = web.Application()
    app[stateroom.METRICS] = Metrics("test")
    app.router.add_get("/stream", _stream)
    app.router.add_get("/page", _page)
    app.router.add_static("/static", folder)
    runner = Runner(app, {})
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _ask(port: int, path: str, *, close: bool = False) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE_BUFFER)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    ending = "Connection: close\r\n" if close else ""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{ending}\r\n".encode())
    return sock


def _read_to_the_end(sock: socket.socket) -> None:
    while sock.recv(1_000_000):
        pass


def _run(work: object) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as loop:
        loop.run(work)  # type: ignore[arg-type]


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("path", ["/stream", "/page", "/static/file.bin"])
def test_a_client_that_never_reads_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, close: bool) -> None:
    monkeypatch.setattr(stalled, "STALL_SECONDS", 0.5)

    async def work() -> None:
        async with _served(tmp_path) as (runner, port):
            with contextlib.closing(_ask(port, path, close=close)) as sock:
                async with asyncio.timeout(10):
                    while not runner.server.transports():  # type: ignore[union-attr]
                        await asyncio.sleep(0.01)
                    while runner.server.transports():  # type: ignore[union-attr]
                        await asyncio.sleep(0.05)
                with pytest.raises(ConnectionResetError):
                    _read_to_the_end(sock)

    _run(work())


@pytest.mark.parametrize("path", ["/stream", "/page", "/static/file.bin"])
def test_a_client_that_reads_slowly_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(stalled, "STALL_SECONDS", 0.5)

    async def work() -> None:
        async with _served(tmp_path) as (runner, port):
            with contextlib.closing(_ask(port, path)) as sock:
                for _ in range(25):  # five times as long as a client may stall
                    await asyncio.sleep(0.1)
                    assert await asyncio.to_thread(sock.recv, 50_000)
                assert runner.server.transports()  # type: ignore[union-attr]

    _run(work())


def test_a_handler_that_never_ends_holds_a_shutdown_up_no_longer_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_runner, "SHUTDOWN_SECONDS", 0.5)

    async def work() -> float:
        async with _served(tmp_path) as (runner, port):
            with contextlib.closing(_ask(port, "/stream")):
                while not runner.server.transports():  # type: ignore[union-attr]
                    await asyncio.sleep(0.01)
                begun = time.monotonic()
                await runner.cleanup()
                return time.monotonic() - begun

    with asyncio.Runner(loop_factory=loop_factory()) as loop:
        assert loop.run(work()) < 0.5 + 2 * serving_runner.CANCEL_SECONDS + 1


def test_a_client_that_never_reads_does_not_hold_sigterm_up(tmp_path: Path) -> None:
    with Serving(tmp_path) as service, contextlib.closing(_ask(service.port, "/api/openapi.json")) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100_000):
                sock.send(b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        begun = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert time.monotonic() - begun < DRAIN_SECONDS
