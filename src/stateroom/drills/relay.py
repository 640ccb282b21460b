"""A TCP relay in front of a server. It can act as a network partition: bytes stop, and neither end notices.

The relay tells the sides of a partition apart by the address that a connection comes from. It holds data under way until the
partition heals, as TCP does. `lose` drops the data instead, for a server that dies before it has sent the data.

It can also act as a long link: everything arrives later, in the same order. A connection then takes a round trip to open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Self

from ..settings import Address

CHUNK_BYTES = 64 * 1024
CHUNKS_UNDER_WAY = 256
"""How much of one direction a long link holds: 16 MiB. It limits the memory, and no drill reaches it."""


class Relay:
    """Listens on `at` and relays connections to `target`, except those from hosts that are cut off.

    `source`: the address that it connects from. `round_trip`: the round trip of the link, in seconds. Each direction takes half
    of it.
    """

    def __init__(self, at: Address, target: Address, *, source: str | None = None, round_trip: float = 0.0) -> None:
        assert round_trip >= 0
        self.at = at
        self._target = target
        self._source = source
        self._round_trip = round_trip
        self._cut: frozenset[str] = frozenset()
        # By host. Set while its data may pass.
        self._passages: dict[str, asyncio.Event] = {}
        # The host of each relayed connection.
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.at.host, self.at.port)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self, hosts: Iterable[str]) -> None:
        """Hold all data from and to these hosts."""
        self._cut = frozenset(hosts)
        for host in self._cut:
            self._passage(host).clear()

    def heal(self) -> None:
        """Let all data pass again, the held data first."""
        self._cut = frozenset()
        for passage in self._passages.values():
            passage.set()

    def lose(self) -> None:
        """Close the connections that are held, drop their data, and let new connections pass."""
        for task, host in self._under_way.items():
            if host in self._cut:
                task.cancel()
        self.heal()

    def _passage(self, host: str) -> asyncio.Event:
        passage = self._passages.get(host)
        if passage is None:
            passage = self._passages[host] = asyncio.Event()
            if host not in self._cut:
                passage.set()
        return passage

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way[task] = host = writer.get_extra_info("peername")[0]
        try:
            await self._relay(reader, writer, self._passage(host))
        except asyncio.CancelledError:
            writer.transport.abort()  # The error is not raised again: asyncio's streams would log it.
        finally:
            del self._under_way[task]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: asyncio.Event) -> None:
        await asyncio.sleep(self._round_trip)
        await passage.wait()
        local = (self._source, 0) if self._source is not None else None
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._target.host, self._target.port, local_addr=local)
        except OSError:
            writer.transport.abort()  # The server does not listen. Closing is the nearest to a refused connection.
            return
        there = asyncio.create_task(self._pump(reader, inner_writer, passage))
        back = asyncio.create_task(self._pump(inner_reader, writer, passage))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            await passage.wait()  # In a partition neither end notices that the other has closed.
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            inner_writer.transport.abort()
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: asyncio.Event) -> None:
        """Pass one direction on, until its end has arrived."""
        with contextlib.suppress(OSError):
            if not self._round_trip:
                await _pass_on(_chunks(reader), writer, passage)
                return
            async with _late(_chunks(reader), self._round_trip / 2) as chunks:
                await _pass_on(chunks, writer, passage)


async def _pass_on(chunks: AsyncIterator[bytes], writer: asyncio.StreamWriter, passage: asyncio.Event) -> None:
    async for data in chunks:
        await passage.wait()
        writer.write(data)
        await writer.drain()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(CHUNK_BYTES):
        yield data


@contextlib.asynccontextmanager
async def _late(chunks: AsyncIterator[bytes], delay: float) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield each chunk, and the end, `delay` seconds after it came."""
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)
    loop = asyncio.get_running_loop()

    async def take() -> None:
        with contextlib.suppress(OSError):  # A reset ends the direction as a regular end does.
            async for data in chunks:
                await due.put((loop.time() + delay, data))
        await due.put((loop.time() + delay, b""))

    async def late() -> AsyncIterator[bytes]:
        while True:
            at, data = await due.get()
            await asyncio.sleep(at - loop.time())
            if not data:
                return
            yield data

    task = asyncio.create_task(take())
    try:
        yield late()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
