"""An event loop whose connections use our sockets, for libraries that open connections themselves (asyncpg).

Otherwise uvloop would look up their names in libuv's threads. A name that hangs there (`DATABASE_URL`) delays all others,
and keeps the process from ending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .sockets import OPENER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

OPEN_SECONDS = 2.0
"""How long a look-up and a connection may take together. Callers may give up earlier."""


class OwnSockets:
    """A part of an event loop's class: it opens TCP connections as the connections to Redis are opened."""

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """As asyncio's. Only connections to a host and a port without other wishes are ours."""
        connect: Any = super().create_connection  # type: ignore[misc] # the loop is the next class
        if host is None or not options.keys() <= {"ssl", "server_hostname", "ssl_handshake_timeout", "ssl_shutdown_timeout"}:
            connected: tuple[asyncio.Transport, asyncio.BaseProtocol] = await connect(protocol_factory, host, port, **options)
            return connected
        if options.get("ssl"):
            options.setdefault("server_hostname", host)
        sock = await OPENER.open(host, int(port), timeout=OPEN_SECONDS)
        try:
            connected = await connect(protocol_factory, sock=sock, **options)
        except BaseException:
            sock.close()
            raise
        return connected
