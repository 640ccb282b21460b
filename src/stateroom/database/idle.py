"""Connections of the pool that were idle: dead ones are noticed before they are used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import InvalidatePoolError

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

IDLE_SECONDS = 0.3
"""A connection that was idle for longer is asked for a sign of life before it is used. That takes a round trip.

The connection that reads the journal's tail every 0.2 s is not asked.
"""


def note_idle(_: object, record: ConnectionPoolEntry) -> None:
    """Note when a connection was given back to the pool."""
    record.info["idle_since"] = time.monotonic()


def check_alive(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
    """Replace all connections of the pool if this one is dead, because the server has probably been restarted.

    The driver knows of a connection that the server has closed. After some time without use it may be dead silently.
    """
    idle_since = record.info.pop("idle_since", None)
    if idle_since is None:  # it is new
        return
    raw: Any = record.driver_connection
    if raw is None or raw.is_closed():
        raise InvalidatePoolError("the server has closed the connection")
    if time.monotonic() - idle_since > IDLE_SECONDS:
        try:
            connection.run_async(lambda raw: raw.execute(";"))
        except Exception as error:  # any error of the driver
            raise InvalidatePoolError("the connection is dead") from error
