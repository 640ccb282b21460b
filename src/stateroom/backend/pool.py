"""A bounded pool of connections to one primary, for commands that block or take long.

The pool's size limits how many such commands run at once. A caller waits for its turn at most as long as the read
time-out. An exhausted pool means load, not an outage, so it never opens the breaker.
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
    """A pool of at most `size` connections that `open_connection` makes. `wait_timeout` is in seconds.

    Invariants: `0 <= min_idle <= size`, `0 <= len(_in_use) <= size`, `0 <= _pending`.
    """

    def __init__(self, open_connection: OpenConnection, metrics: Metrics, *, size: int, min_idle: int, wait_timeout: float) -> None:
        self._open_connection = open_connection
        self._metrics = metrics
        self._size = size
        self._min_idle = min(min_idle, size)
        self._wait_timeout = wait_timeout
        self._turns = asyncio.Semaphore(size)
        # Connected and not in use. A caller takes the one that was used last.
        self._idle: deque[AbstractConnection] = deque()
        # Used by a caller now. `drop` removes a connection from here, and then its caller closes it.
        self._in_use: set[AbstractConnection] = set()
        # Each task removes itself when its connection is closed.
        self._closing: set[asyncio.Task[None]] = set()
        # Callers that wait for their turn.
        self._pending = 0
        # Never becomes False again.
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AbstractConnection]:
        """Lend one connection to one caller. If its use ends in an error, the pool closes it.

        Raises `StoreUnavailable` (kind `pool_exhausted` if no connection became free in time), and redis-py's errors if it
        cannot connect.
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
            else:  # `drop` was called meanwhile: the server is not the primary any more
                await _close(connection)
        finally:
            self._turns.release()

    async def warm(self) -> None:
        """Open connections until `min_idle` are open. If the server does not answer, return without an error."""
        with contextlib.suppress(RedisError, OSError, StoreUnavailable, TimeoutError):
            while len(self._idle) + len(self._in_use) < self._min_idle and not self._is_closed:
                self._idle.append(await self._open_connection())

    def drop(self) -> None:
        """Close the idle connections now. Close each of the others when its caller returns it."""
        self._in_use.clear()
        while self._idle:
            task = asyncio.get_running_loop().create_task(_close(self._idle.popleft()))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all idle connections. Those in use are closed when their callers return them."""
        self._is_closed = True
        self.drop()
        await asyncio.gather(*self._closing)

    def figures(self) -> PoolFigures:
        """How many connections and waiting callers there are now."""
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
