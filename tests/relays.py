"""What the relays of the tests have in common: they listen, and end with all their connections."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from stateroom.settings import Address


class BaseRelay:
    """Listens on a port of the system's choice, or on `at`. A subclass relays each connection.

    `at`: where it listens, from `__aenter__` on.
    """

    def __init__(self, at: Address | None = None) -> None:
        self.at = at or Address("127.0.0.1", 0)
        # Each task relays one connection, and removes itself.
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

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until it ends. It must not raise: asyncio's streams would log the error."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await self.relay(reader, writer)
        finally:
            self._under_way.discard(task)
            writer.transport.abort()
