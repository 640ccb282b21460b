"""Sentinels over the network: fake servers that hang, are down or lie, and a client that follows them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Self

import pytest

from stateroom.backend.sentinel import SentinelWatcher
from stateroom.backend.sentinel_client import SentinelClient
from stateroom.drills import topology
from stateroom.drills.node import until
from stateroom.intervals import ask_timeout
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

from ..patience import at_most
from .watching import READ_TIMEOUT_SECONDS, watching

TIMEOUT_SECONDS = ask_timeout(LEASE_SECONDS, READ_TIMEOUT_SECONDS)
OLD, LIE = Address("10.0.0.1", 6379), Address("192.168.7.7", 6379)


class Fake:
    """A fake Sentinel with the test's answers. `hangs`: it accepts connections and answers nothing."""

    def __init__(self, primary: Address, epoch: int = 1, *, hangs: bool = False) -> None:
        self.primary, self.epoch, self.hangs = primary, epoch, hangs
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readline():
                command = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(length + 2))[:-2].decode().upper())
                if self.hangs:
                    continue
                host, port = self.primary.host, str(self.primary.port)
                if command[0] == "HELLO":
                    writer.write(b"%1\r\n+server\r\n+sentinel\r\n")
                elif command[0] == "SUBSCRIBE":
                    writer.write(b">3\r\n+subscribe\r\n+x\r\n:1\r\n")
                elif command[1:2] == ["GET-MASTER-ADDR-BY-NAME"]:
                    writer.write(f"*2\r\n+{host}\r\n+{port}\r\n".encode())
                elif command[1:2] == ["MASTER"]:
                    writer.write(f"%1\r\n+config-epoch\r\n+{self.epoch}\r\n".encode())
                else:
                    writer.write(b"+OK\r\n")


class News:
    """Sets an event each time a watcher has judged an answer."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self._changed.set()

    async def until(self, condition: object, seconds: float = 5) -> None:
        assert callable(condition)
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def is_believed(watcher: SentinelWatcher) -> bool:
    return time.monotonic() < watcher.believed_until


@pytest.mark.parametrize("faults", [("hung",), ("down",), ("lies",), ("hung", "down", "lies")])
async def test_a_minority_that_hangs_is_down_or_lies_is_survived(faults: tuple[str, ...]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        good = [await stack.enter_async_context(Fake(OLD)) for _ in range(len(faults) + 1)]
        bad = []
        for fault in faults:
            fake = await stack.enter_async_context(Fake(LIE if fault == "lies" else OLD, hangs=fault == "hung"))
            if fault == "down":
                fake.stop()
            bad.append(fake)
        news = News()
        async with watching(*(each.address for each in (*bad, *good)), on_update=news) as watcher:
            await news.until(lambda: is_believed(watcher))
            assert watcher.primary == OLD
            with at_most(TIMEOUT_SECONDS / 2):
                assert await watcher.locate() == OLD


async def test_belief_takes_a_majority_for_a_lease_and_ends_a_lease_after_it() -> None:
    news = News()
    async with (
        Fake(OLD) as one,
        Fake(OLD, hangs=True) as two,
        Fake(OLD, hangs=True) as three,
        watching(one.address, two.address, three.address, on_update=news) as watcher,
    ):
        await news.until(lambda: watcher.primary == OLD)
        since = time.monotonic()
        await news.until(lambda: time.monotonic() - since > 2 * LEASE_SECONDS)
        assert not is_believed(watcher)
        two.hangs = False
        began = time.monotonic()
        await news.until(lambda: is_believed(watcher))
        assert time.monotonic() - began >= LEASE_SECONDS
        two.hangs = True
        last = time.monotonic()
        await news.until(lambda: not is_believed(watcher))
        assert time.monotonic() - last <= LEASE_SECONDS + 2 * TIMEOUT_SECONDS


async def test_a_client_follows_at_once_and_a_read_that_waits_on_the_old_server_is_sent_again(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "a") as a, topology.single(tmp_path / "b") as b:
        await a.call("SET", "who", "a")
        await b.call("SET", "who", "b")
        async with Fake(a.address) as one, Fake(a.address) as two, Fake(a.address) as three:
            settings = Settings(
                _env_file=None,
                cookie_keys=new_key(),
                database_url="none",
                redis_sentinels=",".join(str(each.address) for each in (one, two, three)),
                redis_read_timeout=5,
            )
            client = SentinelClient(settings, Metrics())
            await client.start()
            assert await client.execute("", "GET", "who") == b"a"
            serial = client.standing("").connection_epoch
            a.pause()
            try:
                waiting = asyncio.ensure_future(client.execute("", "GET", "who"))
                await asyncio.sleep(0)
                one.primary, one.epoch = b.address, 2  # It has promoted b, but not announced it yet.
                with at_most(2):  # The read time-out is 5 s.
                    assert await waiting == b"b"  # A read is sent again, to the new primary.

                async def is_there() -> bool:
                    return client.standing("").connection_epoch > serial and client.is_available

                await until(is_there, "the client is connected to b", seconds=2)
                assert await client.execute("", "GET", "who") == b"b"
                assert not client.standing("").is_believed
                two.primary, two.epoch = b.address, 2
                began = time.monotonic()

                async def is_now_believed() -> bool:
                    return client.standing("").is_believed

                await until(is_now_believed, "a majority names b", seconds=3)
                assert time.monotonic() - began >= LEASE_SECONDS
            finally:
                a.resume()
                await client.aclose()
