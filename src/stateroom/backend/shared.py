"""The shared connections of one primary: one for reads and one for writes.

A server that holds writes back (CLIENT PAUSE WRITE, a failover that Valkey coordinates) replies in order. On one connection
all reads would wait behind the first write. So writes have a connection of their own, whose loss costs nobody a read.

The connection for reads is *the* shared connection. If it is lost, and two dials for a new one fail, the server is
unavailable. What was learnt over it (`Standing`) holds only as long as it does. No other connection's failure says anything
about it. All connections must lead to the same server, because a session that was deleted on one server is not gone on
another. The server's run id shows this: it is random, and each start of a server makes another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from ..errors import StoreUnavailable
from .breaker import Breaker, BreakerState
from .doubts import Doubts
from .info import run_id_of
from .link import Again
from .multiplexer import Multiplexer, OpenConnection
from .two_dials import SECOND_DIAL_SECONDS, close_quietly, first_of_two

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..settings import Settings
    from .client import Argument
    from .link import ObserveCommand, ObserveFault
    from .near_cache import NearCache

HANDSHAKE_REPLIES = 6
"""The Sentinels' replies, and those to HELLO or AUTH, SELECT, ROLE, INFO with PING, and CLIENT TRACKING, one after the other.

Each has the read time-out. A shorter limit for all of them together would make a server with a long round trip unreachable.
"""
KEEP_ALIVE_SECONDS = 1.0
"""A PING goes over the connection for writes after so long without a command, so that its loss is noticed in time."""

READS = frozenset(
    {"HGETALL", "GET", "TIME", "ZRANGE", "ZCOUNT", "PING", "INFO", "ECHO", "EXISTS", "TTL", "PTTL", "HGET", "HMGET", "ROLE"}
)
"""Commands that a server runs while it holds writes back, and that may be sent twice. Any other command counts as a write."""

ANOTHER_SERVER = "this connection leads to another server than the shared one"
"""Why a connection beside the shared one is not used. The caller gets it as the text of an error."""


class SharedConnections:
    """Both connections, and the breaker that opens when the one for reads cannot be made.

    `reads`: sends the commands of `READS`. `write` sends all others.
    `open_connection` returns a connected redis-py connection to the primary.
    `on_connected()`, `on_lost()`: the connection for reads came or went. `on_another()`: it leads to another server than
    before, or nobody knows. `on_refused(reason)`: the connection for writes cannot be made, while the other one works.
    `on_doubt(reason)`: the server may not be the primary any more, or two connections lead to different servers. The caller
    closes all connections then.
    """

    def __init__(
        self,
        open_connection: OpenConnection,
        settings: Settings,
        near: NearCache | None,
        *,
        observe: ObserveCommand,
        on_fault: ObserveFault,
        on_breaker: Callable[[BreakerState, str], None],
        on_connected: Callable[[], None],
        on_lost: Callable[[], None],
        on_another: Callable[[], None],
        on_refused: Callable[[str], None],
        on_doubt: Callable[[str], None],
    ) -> None:
        self._open_connection = open_connection
        self._near = near
        self._on_breaker = on_breaker
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._on_another = on_another
        self._on_refused = on_refused
        self._on_doubt = on_doubt
        # The run id of the server behind the connection for reads, or behind the last one. Empty if it is unknown.
        self._run_id = ""
        # The run id behind the connection for reads that was dialled last. It becomes `_run_id` when that one is used.
        self._dialled_run_id = ""
        # The connection for reads that was dialled last. It is the present one while `is_connected`.
        self.dialled: AbstractConnection | None = None
        # Doubts whether two connections lead to the same server.
        self._doubts = Doubts()
        # How often `drop` was called. A dial that began before a drop may lead to the wrong server.
        self._drops = 0
        # Set while the connection for reads is there.
        self._is_there = asyncio.Event()
        options: dict[str, Any] = {
            "read_timeout": settings.redis_read_timeout,
            "write_timeout": settings.redis_write_timeout,
            "connect_timeout": settings.redis_dial_timeout + HANDSHAKE_REPLIES * settings.redis_read_timeout + SECOND_DIAL_SECONDS,
            "observe": observe,
            "on_fault": on_fault,
            "is_patient": True,
        }
        self.breaker = Breaker(self._breaker_moved)
        self.reads = Multiplexer(
            self._open_reads,
            self.breaker,
            on_leave=near.batch_sent if near is not None else None,
            on_push=near.on_push if near is not None else None,
            on_connected=self._reads_connected,
            on_lost=self._reads_lost,
            **options,
        )
        # Closed while writes may go over their own connection. While it is open, they go over that for reads.
        self._write_breaker = Breaker(self._write_breaker_moved)
        self._writes = Multiplexer(
            self._open_writes, self._write_breaker, on_lost=self._writes_lost, keep_alive=KEEP_ALIVE_SECONDS, **options
        )

    @property
    def is_connected(self) -> bool:
        """Whether the connection for reads is there."""
        return self.reads.is_connected

    @property
    def pending(self) -> int:
        """How many commands wait for a reply or for a connection."""
        return self.reads.pending + self._writes.pending

    async def start(self) -> BaseException | None:
        """Begin to connect. Return when the first attempts have ended: the error of the reads' one, or None if it succeeded."""
        error = await self.reads.start()
        first_attempt = self._writes.begin()  # it waits for the connection for reads
        if error is None:
            await asyncio.shield(first_attempt)
        return error

    async def aclose(self) -> None:
        """Fail all commands that wait (kind `closed`), close the connections, end the tasks."""
        await self._writes.aclose()
        await self.reads.aclose()

    def write(self, command: tuple[Argument, ...], again: int) -> asyncio.Future[Any]:
        """Send a command over the connection for writes. Raises `StoreUnavailable`, also if reads would.

        It goes over the connection for reads if the other one cannot be made: the server has too many clients, or tells no
        run id.
        """
        if not self.breaker.is_closed:
            self.breaker.check()
        return (self._writes if self._write_breaker.is_closed else self.reads).send(command, again)

    def drop(self, fault: StoreUnavailable) -> None:
        """Close both connections and make new ones now. Dials that have begun already are not used either."""
        self._drops += 1
        self.reads.drop(fault)
        self.reads.hurry()
        self._writes.drop(fault)

    async def dial_further(self) -> AbstractConnection:
        """Make a connection beside the shared ones, once that for reads is there: it must lead to the same server.

        Raises redis-py's errors, also if it leads to another server.
        """
        connection, _ = await self._dial_further()
        return connection

    async def _dial_further(self) -> tuple[AbstractConnection, str]:
        """Make a connection once that for reads is there, and tell the run id behind it.

        From the last check until the return, no other task runs.
        """
        await self._is_there.wait()
        drops = self._drops
        connection = await self._open_connection()
        try:
            run_id = await run_id_of(connection)
        except BaseException:
            await close_quietly(connection)
            raise
        if drops == self._drops and not self._is_another(run_id):
            return connection, run_id
        await close_quietly(connection)
        if drops != self._drops:
            raise _DroppedMeanwhile("the server may not be the primary any more")
        if self.reads.is_connected and self._is_another(run_id) and self._doubts.may_act():
            self._on_doubt("two connections to the same address lead to different servers")
        raise RedisConnectionError(ANOTHER_SERVER)

    def _is_another(self, run_id: str) -> bool:
        """Whether a connection leads to another server than that for reads, or than the last one for reads."""
        return bool(run_id and self._run_id and run_id != self._run_id)

    async def _open_reads(self) -> AbstractConnection:
        """Make the connection for reads. From the last check until its first command is sent, no other task runs."""
        while True:
            drops = self._drops
            connection = await first_of_two(self._open_connection)
            try:
                run_id = await run_id_of(connection)
                if self._near is not None:
                    await self._near.begin(connection)
            except BaseException:
                await close_quietly(connection)
                raise
            if drops == self._drops:
                self.dialled, self._dialled_run_id = connection, run_id
                return connection
            await close_quietly(connection)

    async def _open_writes(self) -> AbstractConnection:
        """Make the connection for writes. From the last check until its first command is sent, no other task runs."""
        while True:
            await self._is_there.wait()
            if not self._run_id:
                raise RedisConnectionError("the server tells no run id")
            try:
                connection, run_id = await self._dial_further()
            except _DroppedMeanwhile:
                continue
            if not (self.reads.is_connected and run_id == self._run_id):
                await close_quietly(connection)
                raise RedisConnectionError("the shared connection changed meanwhile")
            return connection

    def _reads_connected(self) -> None:
        before, self._run_id = self._run_id, self._dialled_run_id
        if not self._run_id or self._run_id != before:
            self._writes.drop(StoreUnavailable("the shared connection leads to another server now"))
            self._on_another()
        self._is_there.set()
        self._writes.hurry()
        self._on_connected()

    def _reads_lost(self, fault: StoreUnavailable) -> None:
        self._is_there.clear()
        self._on_lost()
        self._writes.fail_queued(fault, only=Again.NEVER)  # the next server may be another one

    def _writes_lost(self, fault: StoreUnavailable) -> None:
        if fault.__cause__ is not None:  # a reply of the server: it is a replica now, or it loads its data
            self._on_doubt(fault.detail)

    def _breaker_moved(self, state: BreakerState, reason: str) -> None:
        if state is BreakerState.OPEN:
            self._writes.fail_queued(StoreUnavailable(f"Redis is unavailable: {reason}", kind="breaker_open"))
        self._on_breaker(state, reason)

    def _write_breaker_moved(self, state: BreakerState, reason: str) -> None:
        if state is not BreakerState.OPEN or not self.reads.is_connected:
            return
        self._writes.hand_over(self.reads)
        if self._run_id:
            self._on_refused(reason)


class _DroppedMeanwhile(RedisConnectionError):
    """All connections were dropped while this one was made."""
