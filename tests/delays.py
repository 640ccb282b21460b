"""A TCP relay that delays data, as a long way does. It holds each byte for half a round trip in each direction.

The kernel accepts a connection at once, so the round trip of the TCP handshake is missing.
"""

from __future__ import annotations

import asyncio
import contextlib

from stateroom.settings import Address

from .relays import BaseRelay

CHUNK_BYTES = 64 * 1024


class DelayingRelay(BaseRelay):
    """Relays connections to `target`. `round_trip`: in seconds; it may be changed at any time."""

    def __init__(self, target: Address, round_trip: float, *, at: Address | None = None) -> None:
        super().__init__(at)
        self.round_trip = round_trip
        self._target = target

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_writer: asyncio.StreamWriter | None = None
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._target.host, self._target.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, inner_writer))
                both.create_task(self._pass_on(inner_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # asyncio's streams would log the error
        finally:
            if inner_writer is not None:
                inner_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
