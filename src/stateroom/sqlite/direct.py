"""Runs a coroutine that uses a database in a thread without an event loop.

A step of a transaction is an async function of an `AsyncConnection`, because PostgreSQL needs that. With SQLite the step
gets a connection whose calls finish before they return. Therefore the step never suspends, and runs in one thread: the
thread of the connection. Otherwise each statement would change threads several times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
Step = Callable[[AsyncConnection], Awaitable[T]]


class Direct(AsyncConnection):
    """A connection whose calls do their work at once, in the thread that makes them."""

    def __init__(self, connection: Connection) -> None:
        self.sync_connection = connection

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        return self._connection.execute(statement, parameters, execution_options=execution_options)

    async def scalar(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        return self._connection.scalar(statement, parameters, execution_options=execution_options)

    async def scalars(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        return self._connection.scalars(statement, parameters, execution_options=execution_options)

    async def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:
        return self._connection.exec_driver_sql(statement, parameters, execution_options)

    async def run_sync(self, fn: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return fn(self._connection, *arguments, **options)

    @property
    def _connection(self) -> Connection:
        assert self.sync_connection is not None
        return self.sync_connection


def run(step: Step[T], connection: Connection) -> T:
    """Run a step. Raises `RuntimeError` if it awaits anything but its connection."""
    awaiting = step(Direct(connection)).__await__()
    try:
        awaiting.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    awaiting.close()
    raise RuntimeError("a step of a transaction may only await its connection, because all other writers wait for it")
