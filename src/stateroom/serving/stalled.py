"""Cuts connections whose client does not read.

The kernel and the event loop keep what a client has not read. A handler that writes more waits for the client. A
response of ordinary length waits in the loop's buffer, also after its connection was closed. Without a limit, a client that
never reads keeps its connection and its buffers, and a shutdown waits for it. A client that reads slowly is no fault: its
connection stays open as long as bytes arrive there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = get_logger(__name__)

STALL_SECONDS = 30.0
"""How long a client may take no byte of what waits for it. A client that reads 50 bytes a second over Ethernet is within this
time, because a full receive window opens again by one segment at least (RFC 9293, section 3.8.6.2.2)."""
DRAIN_STALL_SECONDS = 10.0
"""`STALL_SECONDS` while the service stops."""
LOOKS_PER_STALL = 8

_BYTES_ACKED = struct.Struct("120xQ")
"""`tcpi_bytes_acked` of Linux' `struct tcp_info` (RFC 4898, tcpEStatsAppHCThruOctetsAcked; linux/tcp.h)."""

_LINGER_NOT = struct.pack("ii", 1, 0)
"""Linux' `struct linger`: close with a reset (socket(7))."""


@dataclass(slots=True)
class _Stall:
    """What a client had taken when it last took something. `mark`: see `_mark`. `since`: by the loop's clock, seconds."""

    mark: int
    since: float


class StalledWrites:
    """Watches the connections of one server. `transports`: returns those that are open, also those that are being closed."""

    def __init__(self, transports: Callable[[], Iterable[asyncio.Transport]]) -> None:
        self._transports = transports
        self._stalls: dict[asyncio.Transport, _Stall] = {}
        self._limit = STALL_SECONDS
        self._is_hurried = asyncio.Event()

    def hurry(self) -> None:
        """Use the shorter limit from now on, because the service stops."""
        self._limit = min(self._limit, DRAIN_STALL_SECONDS)
        self._is_hurried.set()

    async def run(self) -> None:
        """Look at all connections again and again, until cancelled."""
        while True:
            self._look(asyncio.get_running_loop().time())
            if self._is_hurried.is_set():
                await asyncio.sleep(self._limit / LOOKS_PER_STALL)
                continue
            try:
                async with asyncio.timeout(self._limit / LOOKS_PER_STALL):
                    await self._is_hurried.wait()
            except TimeoutError:
                continue

    def _look(self, now: float) -> None:
        before, self._stalls = self._stalls, {}
        for transport in self._transports():
            waiting = transport.get_write_buffer_size()
            if not waiting:
                continue
            mark, stall = _mark(transport, waiting), before.get(transport)
            if stall is None or mark > stall.mark:
                stall = _Stall(mark, now)
            elif now - stall.since >= self._limit:
                log.info("stalled_client_cut", unread_bytes=waiting, after_seconds=round(now - stall.since, 1))
                _reset(transport)
                continue
            self._stalls[transport] = stall


def _reset(transport: asyncio.Transport) -> None:
    """End a connection so that the kernel, too, drops what the client has not read (RFC 9293, section 3.10.5: ABORT)."""
    with contextlib.suppress(OSError, AttributeError):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def _mark(transport: asyncio.Transport, waiting: int) -> int:
    """A number that grows when the client takes something: the bytes that its kernel has acknowledged.

    For a socket without this figure (other systems, unix sockets) it is the negative size of the buffer. That does not grow
    while a handler writes as much as the client reads, but handlers of long responses wait while the buffer is full.
    """
    sock = transport.get_extra_info("socket")
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(told)[0])
    except (OSError, AttributeError, struct.error):
        return -waiting
