"""A bounded pool of connections to one primary, for what blocks or takes long.

Its size bounds how many such commands run at once; a caller waits at most the read time-out for its turn. That a
pool is exhausted is load, not an outage: it never opens the breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from .client import PoolFigures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio.connection import AbstractConnection

    from ..telemetry.metrics import Metrics
    from .multiplexer import OpenConnection


class Pool:
    """Connections that `open_connection` makes. `wait_timeout` is seconds."""

    def __init__(self, open_connection: OpenConnection, metrics: Metrics, *, size: int, min_idle: int, wait_timeout: float) -> None:
        self._open_connection = open_connection
        self._metrics = metrics
        self._size = size
        self._min_idle = min(min_idle, size)
        self._wait_timeout = wait_timeout
        self._turns = asyncio.Semaphore(size)
        self._idle: deque[AbstractConnection] = deque()
        self._in_use: set[AbstractConnection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AbstractConnection]:
        """A connection of one's own. One whose use ends in an error is closed, not handed on.

        Raises `StoreUnavailable` (kind `pool_exhausted` where no turn came), and redis-py's errors of connecting.
        """
        await self._take_turn()
        try:
            connection = self._idle.pop() if self._idle else await self._open_connection()
            self._in_use.add(connection)
            try:
                yield connection
            except BaseException:
                self._in_use.discard(connection)
                await _close(connection)
                raise
            if connection in self._in_use and not self._is_closed:
                self._in_use.discard(connection)
                self._idle.append(connection)
            else:  # dropped meanwhile: its server is not the primary any more
                await _close(connection)
        finally:
            self._turns.release()

    async def warm(self) -> None:
        """Have the least number of idle connections ready. A server that is away is no error here."""
        with contextlib.suppress(RedisError, OSError, StoreUnavailable, TimeoutError):
            while len(self._idle) + len(self._in_use) < self._min_idle and not self._is_closed:
                self._idle.append(await self._open_connection())

    def drop(self) -> None:
        """Close idle connections now, and those in use when they come back."""
        self._in_use.clear()
        while self._idle:
            task = asyncio.get_running_loop().create_task(_close(self._idle.popleft()))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        self._is_closed = True
        self.drop()
        await asyncio.gather(*self._closing)

    def figures(self) -> PoolFigures:
        return PoolFigures(len(self._idle), len(self._in_use), self._size, self._pending)

    async def _take_turn(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the Redis client is closed", kind="closed")
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._pending += 1
        try:
            async with asyncio.timeout(self._wait_timeout):
                await self._turns.acquire()
        except TimeoutError:
            self._metrics.redis_pool_timeouts.inc()
            raise StoreUnavailable(
                f"no pooled connection was free within {self._wait_timeout:g} s (REDIS_POOL_SIZE is {self._size})",
                kind="pool_exhausted",
            ) from None
        finally:
            self._pending -= 1
        self._metrics.redis_pool_acquire_duration.observe(loop.time() - began)


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)
