"""A plain application. It keeps the bytes of each request that reached it, and judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

NUMBER = "bypass-number"
"""The header with the number of the attempt that a request belongs to."""
_ANSWER = b"HTTP/1.1 %s\r\nBypass-Arrived: yes\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n"
_BODY = b"arrived\n"
_TUNNEL = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


@dataclass(frozen=True)
class Arrival:
    """A request that reached the application, as its bytes say: nothing is decoded or joined."""

    raw: bytes
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, raw: bytes) -> Arrival:
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        pairs = [line.partition(":") for line in lines if line]
        return cls(raw, method, rest.rpartition(" ")[0], tuple((name, value.strip(" \t")) for name, _, value in pairs))

    def values(self, name: str) -> list[str]:
        return [value for sent, value in self.headers if sent.lower() == name]


@dataclass
class Plain:
    """The running application. `arrived`: what reached it, in order. `trailers`: the lines after chunked bodies."""

    port: int = 0
    arrived: list[Arrival] = field(default_factory=list)
    trailers: list[str] = field(default_factory=list)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrival = Arrival.read(head[:-4])
                self.arrived.append(arrival)
                if [value.lower() for value in arrival.values("upgrade")] == ["h2c"]:
                    writer.write(_TUNNEL)  # As servers of HTTP/2 do. The requests that follow are in plain text here.
                    continue
                self.trailers += await _skip_body(reader, arrival)
                writer.write(_ANSWER % b"200 OK" + (b"" if arrival.method == "HEAD" else _BODY))
                await writer.drain()
        self.open.discard(writer)
        writer.close()


async def _skip_body(reader: asyncio.StreamReader, arrival: Arrival) -> list[str]:
    """Read the body. Returns the lines of its trailers."""
    trailers: list[str] = []
    if "chunked" in "".join(arrival.values("transfer-encoding")).lower():
        while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        while line := (await reader.readuntil(b"\n")).strip():
            trailers.append(line.decode("latin-1"))
    elif length := arrival.values("content-length"):
        await reader.readexactly(int(length[0]))
    return trailers


@contextlib.asynccontextmanager
async def plain_application() -> AsyncIterator[Plain]:
    plain = Plain()
    server = await asyncio.start_server(plain.serve, "127.0.0.1", 0, limit=1 << 17)
    plain.port = server.sockets[0].getsockname()[1]
    try:
        yield plain
    finally:
        server.close()
        for writer in [*plain.open]:
            writer.close()
