"""Sends all responses of one turn of the event loop together.

uvloop writes to the socket at once. A write between two handlers wakes a proxy or load generator on this machine for each
single response, and the kernel fills the processor's caches. If all responses are written after the handlers have run, a
session check takes up to a quarter less time (docs/performance.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

AT_MOST = 64
"""How many responses may wait for each other. This takes about two milliseconds at most, with any number of clients."""


class Outbox:
    """The outbox of one event loop. Responses are sent before anything that is scheduled after them.

    `_waiting`: responses that are not sent yet: `len(_waiting) < AT_MOST` between calls. While there are any, a flush is
    scheduled.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._flush)
        waiting.append((transport, data))
        if len(waiting) == AT_MOST:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():  # else the client has closed the connection
                transport.write(data)
