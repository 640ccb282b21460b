"""The insides of redis-py: the transport of a connection, and how it connects.

redis-py documents no way to do three things that we need: to receive pushed messages over a connection while callers wait
for replies on it (Sentinels' announcements, the near cache), to check a certificate for another name than the host's, and
to choose the local address of a connection. So `pyproject.toml` allows only the tested versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection

from .library import Library

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Mapping

    from redis.asyncio.connection import AbstractConnection

REDIS = Library("redis", tested=frozenset({"8.1"}))


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """The transport of an open connection."""
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001
    assert writer is not None, "the connection is not open"
    return writer.transport  # type: ignore[return-value]


def resp_version_of(connection: AbstractConnection) -> int:
    """The version of RESP of an open connection."""
    return int(connection.protocol)


def error_maker_of(connection: AbstractConnection) -> Callable[[str], Exception]:
    """The function that turns a server's error reply into redis-py's exception."""
    return connection._parser.parse_error  # noqa: SLF001


class ContextConnection(SSLConnection):
    """Connects with a ready TLS context. `server_name`: the name that the server's certificate must have."""

    def __init__(self, *, context: ssl.SSLContext, server_name: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self._server_name = server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "ssl": self._context,
            "server_hostname": self._server_name or self.host,
        }


def connect_from(address: str) -> None:
    """Use this local address for every TCP connection of this process to Redis. Drills use it to cut one client off."""
    plain = Connection._connection_arguments  # noqa: SLF001

    def from_address(self: Connection) -> Mapping[str, Any]:
        return {**plain(self), "local_addr": (address, 0)}

    Connection._connection_arguments = from_address  # type: ignore[method-assign]  # noqa: SLF001


def idle_and_in_use(pool: Any) -> tuple[int, int]:
    """How many connections of a pool are idle, and how many in use."""
    return len(getattr(pool, "_available_connections", ())), len(getattr(pool, "_in_use_connections", ()))
