"""The insides of redis-py: the transport of a connection, and how it connects.

redis-py documents no way to do four things that we need: to receive pushed messages over a connection while callers wait
for replies on it (Sentinels' announcements, the near cache), to check a certificate for another name than the host's, to
use a socket that is connected already, and to choose the local address of a connection. So `pyproject.toml` allows only
the tested versions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio.connection import Connection, SSLConnection

from .library import Library

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    import redis.asyncio
    from redis.asyncio.connection import AbstractConnection

REDIS = Library("redis", tested=frozenset({"8.1"}))


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """The transport of an open connection."""
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001
    assert writer is not None, "the connection is not open"
    return writer.transport  # type: ignore[return-value]


def is_silent(connection: AbstractConnection) -> bool:
    """Whether an idle connection is open and has received nothing, as far as this host knows. No bytes are sent for this."""
    reader: Any = connection._reader  # noqa: SLF001
    if reader is None or transport_of(connection).is_closing():
        return False
    return not (reader.at_eof() or reader.exception() is not None or reader._buffer)  # noqa: SLF001


def resp_version_of(connection: AbstractConnection) -> int:
    """The version of RESP of an open connection."""
    return int(connection.protocol)


def error_maker_of(connection: AbstractConnection) -> Callable[[str], Exception]:
    """The function that turns a server's error reply into redis-py's exception."""
    return connection._parser.parse_error  # noqa: SLF001


class OpenSocket(Protocol):
    """Opens a TCP socket to a host. `timeout` is in seconds. `local_host`: the IP address to connect from."""

    async def __call__(self, host: str, port: int, *, timeout: float, local_host: str | None = None) -> socket.socket: ...


class SocketConnection(Connection):
    """Connects over a socket that `open_socket` opens. TLS checks the certificate against the host's name.

    `address`: the IP address that it is connected to; None before.
    """

    def __init__(self, *, open_socket: OpenSocket, **options: Any) -> None:
        super().__init__(**options)
        self.address: str | None = None
        self._open_socket = open_socket
        self._socket: socket.socket | None = None

    async def _connect(self) -> None:
        """Open the socket and do the handshake of TLS, both within the time-out for connecting."""
        timeout = self.socket_connect_timeout
        assert timeout is not None, "redis-py's default was not replaced"
        until = asyncio.get_running_loop().time() + timeout
        local_host, _ = Connection._connection_arguments(self).get("local_addr", (None, 0))  # noqa: SLF001
        sock = await self._open_socket(self.host, self.port, timeout=timeout, local_host=local_host)
        self._socket = sock
        try:
            self.address = sock.getpeername()[0]
            async with asyncio.timeout_at(until):
                await super()._connect()  # type: ignore[no-untyped-call]
        except BaseException:
            sock.close()
            raise
        finally:
            self._socket = None

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"sock": self._socket}


class ContextConnection(SocketConnection, SSLConnection):
    """Connects with a ready TLS context. `server_name`: the name that the server's certificate must have."""

    def __init__(self, *, context: ssl.SSLContext, server_name: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self._server_name = server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context, "server_hostname": self._server_name or self.host}


class _OwnContextConnection(SocketConnection, SSLConnection):
    """Connects with the TLS context that redis-py makes of a URL's parameters."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self.ssl_context.get(), "server_hostname": self.host}


def use_sockets(client: redis.asyncio.Redis, open_socket: OpenSocket) -> None:
    """Let a client that has not connected yet open its TCP sockets so. Unix sockets stay as they are."""
    pool: Any = client.connection_pool
    ours = {Connection: SocketConnection, SSLConnection: _OwnContextConnection}.get(pool.connection_class)
    if ours is not None:
        pool.connection_class = ours
        pool.connection_kwargs["open_socket"] = open_socket


def connect_from(address: str) -> None:
    """Use this local address for every TCP connection of this process to Redis. Drills use it to cut one client off."""
    plain = Connection._connection_arguments  # noqa: SLF001

    def from_address(self: Connection) -> Mapping[str, Any]:
        return {**plain(self), "local_addr": (address, 0)}

    Connection._connection_arguments = from_address  # type: ignore[method-assign]  # noqa: SLF001


def idle_and_in_use(pool: Any) -> tuple[int, int]:
    """How many connections of a pool are idle, and how many in use."""
    return len(getattr(pool, "_available_connections", ())), len(getattr(pool, "_in_use_connections", ()))
