"""A relay in front of a server that does to connections what firewalls, proxies and administrators do."""

from __future__ import annotations

import asyncio
import contextlib

from stateroom.settings import Address

from ..relays import BaseRelay


class FickleRelay(BaseRelay):
    """Relays to `target`. `target` may change: then new connections lead elsewhere, and old ones stay.

    `other`: if there is one, every second connection leads there.
    `forgets_after`: seconds after which a connection without a byte is forgotten: its bytes vanish, and nobody is told.
    `forgets`: addresses, as `CLIENT LIST` names them, of connections that are forgotten now.
    `loses_reply_to`: a text in a command. The next connection that sends it is closed when the reply comes, without the reply.
    """

    def __init__(self, target: Address) -> None:
        super().__init__()
        self.target = target
        self.other: Address | None = None
        self.forgets_after = float("inf")
        self.forgets: set[str] = set()
        self.loses_reply_to: bytes | None = None
        # How many connections were forgotten, and how many replies were lost.
        self.forgotten = self.lost = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self.target
        if self.other is not None:
            self.target, self.other = self.other, target
        inner_reader, inner_writer = await asyncio.open_connection(target.host, target.port)
        host, port = inner_writer.get_extra_info("sockname")[:2]
        connection = _Connection(self, f"{host}:{port}")
        there = asyncio.create_task(connection.pump(reader, inner_writer, is_command=True))
        back = asyncio.create_task(connection.pump(inner_reader, writer, is_command=False))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # It is not raised again: asyncio's streams would log it.
        finally:
            for each in (there, back):
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # the relay ends while the connection ends
                await asyncio.gather(there, back, return_exceptions=True)
            inner_writer.transport.abort()


class _Connection:
    def __init__(self, relay: FickleRelay, address: str) -> None:
        self._relay = relay
        self._address = address
        self._used_at = asyncio.get_running_loop().time()
        self._is_forgotten = self._loses_reply = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_command: bool) -> None:
        relay, loop = self._relay, asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self._is_forgotten and (self._address in relay.forgets or loop.time() - self._used_at > relay.forgets_after):
                    self._is_forgotten = True
                    relay.forgotten += 1
                self._used_at = loop.time()
                if self._is_forgotten:
                    continue
                if is_command and relay.loses_reply_to is not None and relay.loses_reply_to in data:
                    relay.loses_reply_to, self._loses_reply = None, True
                if not is_command and self._loses_reply:
                    relay.lost += 1
                    return
                writer.write(data)
                await writer.drain()
