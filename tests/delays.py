"""A TCP relay that delays data, as a long way does. It holds each byte for half a round trip in each direction.

The kernel accepts a connection at once, so the round trip of the TCP handshake is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from stateroom.settings import Address

CHUNK_BYTES = 64 * 1024


class DelayingRelay:
    """Relays connections to `target`. `round_trip`: in seconds; it may be changed at any time.

    `at`: where it listens, from `__aenter__` on.
    """

    def __init__(self, target: Address, round_trip: float, *, at: Address | None = None) -> None:
        self.round_trip = round_trip
        self.at = at or Address("127.0.0.1", 0)
        self._target = target
        self._under_way: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.at.host, self.at.port)
        self.at = Address(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        inner_writer: asyncio.StreamWriter | None = None
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._target.host, self._target.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._relay(reader, inner_writer))
                both.create_task(self._relay(inner_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # asyncio's streams would log the error
        finally:
            self._under_way.discard(task)
            for each in (writer, inner_writer):
                if each is not None:
                    each.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass data on until the sender closes, each chunk half a round trip after it came. Ends by raising `OSError`."""
        loop = asyncio.get_running_loop()
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await held.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return
                writer.write(data)

        delivering = asyncio.create_task(deliver())
        try:
            while True:
                data = await reader.read(CHUNK_BYTES)
                held.put_nowait((loop.time() + self.round_trip / 2, data))
                if not data:
                    await delivering
                    raise ConnectionResetError("the sender has closed")
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await delivering
