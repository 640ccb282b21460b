"""A bounded pool of connections to one primary, for commands that block or take long.

The pool's size limits how many such commands run at once. A caller waits for its turn at most as long as the read
time-out. An exhausted pool means load, not an outage, so it never opens the breaker. The same is true of a connection that
cannot be made: the server may have as many clients as it allows, while it replies well over the connections that it has.

A server closes idle connections (`timeout`), an administrator kills them, and a firewall forgets them without a word. So a
connection that was idle is tested before a caller gets it, because most commands must not be sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from ..errors import StoreUnavailable
from ..insides import of_redis
from .budget import seconds_left
from .client import PoolFigures
from .two_dials import close_quietly, end_dial, has_succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from redis.asyncio.connection import AbstractConnection

    from ..telemetry.metrics import Metrics
    from .multiplexer import OpenConnection

TEST_AFTER_SECONDS = 1.0
"""A connection that was idle for longer must reply to a PING before it is used. Firewalls keep idle connections for longer."""

TEST_SHARE = 0.25
DIAL_SHARE = 0.5
"""The parts of the caller's time that a test and a new connection may take. The rest is for the caller's commands."""
assert TEST_SHARE + DIAL_SHARE < 1, "nothing would be left for the commands"

SHORTEST_TEST_SECONDS = 0.02
"""A test takes so long even if the caller has less time left, so that a busy machine does not make a good connection silent."""


class Pool:
    """A pool of at most `size` connections that `open_connection` makes. `wait_timeout` is in seconds.

    Invariants: `0 <= min_idle <= size`, `0 <= len(_in_use) <= size`, `_unclaimed <= _dials`, `0 <= _pending`.
    """

    def __init__(self, open_connection: OpenConnection, metrics: Metrics, *, size: int, min_idle: int, wait_timeout: float) -> None:
        self._open_connection = open_connection
        self._metrics = metrics
        self._size = size
        self._min_idle = min(min_idle, size)
        self._wait_timeout = wait_timeout
        self._turns = asyncio.Semaphore(size)
        # Connected and not in use, each with the time of its last use by the loop's clock. A caller takes the one that was
        # used last, so the times never decrease from the first to the last.
        self._idle: deque[tuple[AbstractConnection, float]] = deque()
        # Used by a caller or tested now. `drop` removes a connection from here, and then its caller closes it.
        self._in_use: set[AbstractConnection] = set()
        # Dials whose connection nobody has taken yet. `drop` removes a dial from here, because it may lead to the old primary.
        self._dials: set[asyncio.Task[AbstractConnection]] = set()
        # Those of them whose callers gave up. The next caller waits for one of them. len(_unclaimed) <= size.
        self._unclaimed: set[asyncio.Task[AbstractConnection]] = set()
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
            connection = await self._idle_connection()
            if connection is None:
                connection = await self._new_connection()
                self._in_use.add(connection)
            try:
                yield connection
            except BaseException:
                self._in_use.discard(connection)
                await close_quietly(connection)
                raise
            if connection in self._in_use and not self._is_closed:
                self._in_use.discard(connection)
                self._put_back(connection)
            else:  # `drop` was called meanwhile: the server is not the primary any more
                await close_quietly(connection)
        finally:
            self._turns.release()

    async def warm(self) -> None:
        """Open connections until `min_idle` are open. If the server does not answer, return without an error."""
        with contextlib.suppress(RedisError, OSError, StoreUnavailable, TimeoutError):
            while len(self._idle) + len(self._in_use) < self._min_idle and not self._is_closed:
                self._put_back(await self._dial())

    def drop(self) -> None:
        """Close the idle connections and end the dials now. Close each of the others when its caller returns it."""
        self._in_use.clear()
        self._unclaimed.clear()
        while self._dials:
            self._end(end_dial(self._dials.pop()))
        while self._idle:
            self._close(self._idle.popleft()[0])

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

    async def _idle_connection(self) -> AbstractConnection | None:
        """The connection that was used last, if it still works. None if none does: then a new one is needed."""
        while self._idle:
            connection, since = self._idle.pop()
            self._in_use.add(connection)
            patience = max(seconds_left(self._wait_timeout) * TEST_SHARE, SHORTEST_TEST_SECONDS)
            reason = await self._test(connection, since, patience)
            if not reason and connection in self._in_use:
                return connection
            self._in_use.discard(connection)
            self._replace(connection, reason or "dropped")
            if reason == "silent" and patience < self._wait_timeout * TEST_SHARE / 2:
                return None  # the caller has little time left; so short a test says nothing about the others
            while reason == "silent" and self._idle and self._idle[0][1] <= since:
                self._replace(self._idle.popleft()[0], reason)  # it has been idle for longer
        return None

    async def _test(self, connection: AbstractConnection, since: float, patience: float) -> str:
        """Why a connection that is idle since `since` cannot be used; empty if it can. `patience`: seconds for its reply."""
        if not of_redis.is_silent(connection):
            return "closed"
        if asyncio.get_running_loop().time() - since <= TEST_AFTER_SECONDS:
            return ""
        try:
            async with asyncio.timeout(patience):
                await connection.send_command("PING", check_health=False)
                await connection.read_response(disconnect_on_error=False)
        except ResponseError:  # the user may not run PING; that is a reply too
            return ""
        except TimeoutError:
            return "silent"
        except (RedisError, OSError):
            return "closed"
        except BaseException:
            self._in_use.discard(connection)
            self._close(connection)
            raise
        return ""

    async def _new_connection(self) -> AbstractConnection:
        async with asyncio.timeout(seconds_left(self._wait_timeout) * DIAL_SHARE):
            return await self._dial()

    async def _dial(self) -> AbstractConnection:
        """Dial, and once more after each `drop`. A dial that takes too long for this caller goes on for the next one."""
        while not self._is_closed:
            dial = self._unclaimed.pop() if self._unclaimed else asyncio.ensure_future(self._open_connection())
            self._dials.add(dial)
            try:
                await asyncio.wait([dial])
            except BaseException:
                if dial in self._dials:
                    self._unclaimed.add(dial)
                    dial.add_done_callback(self._dialled)
                raise
            if dial in self._dials:
                self._dials.discard(dial)
                return dial.result()
        raise StoreUnavailable("the Redis client is closed", kind="closed")

    def _dialled(self, dial: asyncio.Task[AbstractConnection]) -> None:
        """Keep the connection of a dial that no caller waits for."""
        if dial not in self._unclaimed:  # a caller waits for it, or `drop` ended it
            return
        self._unclaimed.discard(dial)
        self._dials.discard(dial)
        if not has_succeeded(dial):
            return
        if self._is_closed or len(self._idle) + len(self._in_use) >= self._size:
            self._close(dial.result())
        else:
            self._put_back(dial.result())

    def _put_back(self, connection: AbstractConnection) -> None:
        self._idle.append((connection, asyncio.get_running_loop().time()))

    def _replace(self, connection: AbstractConnection, reason: str) -> None:
        self._metrics.redis_connections_replaced[reason].inc()
        self._close(connection)

    def _close(self, connection: AbstractConnection) -> None:
        self._end(close_quietly(connection))

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
