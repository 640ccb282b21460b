"""Answers of one turn of the event loop leave together.

uvloop writes to the socket at once. A write in the midst of handlers wakes a client on this machine, a proxy before us or
a load generator, for one answer at a time, and leaves the processor's caches to the kernel: one after the other, when the
handlers have had their turn, they take up to a quarter less of a check (docs/performance.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

AT_MOST = 64
"""Answers that wait for each other: some two milliseconds, however many clients there are."""


class Outbox:
    """Of one event loop. What is put in leaves before anything that is scheduled afterwards."""

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
            if not transport.is_closing():  # a client that has gone
                transport.write(data)
