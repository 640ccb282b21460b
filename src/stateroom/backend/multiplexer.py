"""Many callers share one connection to a primary, and replies come in order.

A redis-py `Connection` connects: AUTH, TLS, RESP3, the choice of server. Then a `Link` takes over its transport. All
commands of one loop tick are sent in one write, and each reply goes to the oldest command that waits. If a caller is
cancelled, its reply is still read and thrown away, so that no reply reaches another caller. One timer watches the oldest
command. If it gets no reply within the read time-out, the connection is dead: a new connection is made. The commands that
waited on the dead one are sent again if that is safe (`Again`), and fail otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import hiredis

from ..errors import StoreUnavailable
from .breaker import Breaker
from .faults import as_store_fault
from .link import Again, Link, ObserveCommand, ObserveFault, Waiting, fail, overdue

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .client import Argument

OpenConnection: TypeAlias = "Callable[[], Awaitable[AbstractConnection]]"

MAX_PENDING = 20_000
"""How many commands may wait at once. More of them mean load, not an outage: callers come faster than Redis answers."""

SHORT_LIFE_SECONDS = 0.1
"""A connection that is lost sooner than this counts as a failed attempt."""

_NO_LOOP: Any = None


class Multiplexer:
    """Keeps one link connected and sends commands over it.

    `open_connection` returns a connected redis-py connection to the primary. Without a link, callers wait for the present
    attempt while the breaker is closed. If the breaker is open, their calls fail at once.
    `read_timeout`, `write_timeout` and `connect_timeout` are in seconds. A caller waits at most `read_timeout` in all. A
    connection that takes no bytes for `write_timeout` is closed.
    `is_patient`: a lost connection opens the breaker only if the next attempt to connect fails, or the next connection is lost
    at once. Otherwise a time-out opens it already.
    `keep_alive`: seconds without a command after which a PING is sent, so that a firewall does not forget the connection, or the
    loss is noticed; None for never.
    `on_connected()`, `on_lost(fault)`: called in the same step in which the connection comes and goes.

    Invariants: something is queued only while there is no link; `0 <= len(_queued) <= max_pending`, and as many may wait
    on the link.
    """

    def __init__(
        self,
        open_connection: OpenConnection,
        breaker: Breaker,
        *,
        read_timeout: float,
        write_timeout: float,
        connect_timeout: float,
        observe: ObserveCommand | None = None,
        on_fault: ObserveFault | None = None,
        on_leave: Callable[[], None] | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        on_connected: Callable[[], None] | None = None,
        on_lost: Callable[[StoreUnavailable], None] | None = None,
        is_patient: bool = False,
        keep_alive: float | None = None,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._open_connection = open_connection
        self._breaker = breaker
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        self._connect_timeout = connect_timeout
        self._observe = observe
        self._on_fault = on_fault
        self._on_leave = on_leave
        self._on_push = on_push
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._is_patient = is_patient
        self._keep_alive = keep_alive
        self._max_pending = max_pending
        # A link that is not lost; None while there is no such link.
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop = _NO_LOOP  # kept: asking for it costs a system call (CPython 3.11)
        # Commands that wait for a link, the oldest first.
        self._queued: deque[Waiting] = deque()
        # Set exactly while something is queued. It fires when the time of the oldest is up.
        self._queue_timer: asyncio.TimerHandle | None = None
        # None before `start`.
        self._keeper: asyncio.Task[None] | None = None
        # The error of the first attempt to connect, or None if it succeeded. Set once.
        self._first_attempt: asyncio.Future[BaseException | None] | None = None
        # Set to end the pause before the next attempt.
        self._hurry = asyncio.Event()
        # Never becomes False again.
        self._is_closed = False

    @property
    def pending(self) -> int:
        """How many commands wait for a reply or for a connection."""
        return len(self._queued) + (len(self._link.waiting) if self._link is not None else 0)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None

    async def start(self) -> BaseException | None:
        """Begin to connect. Return when the first attempt has ended: its error, or None if it succeeded."""
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Future[BaseException | None]:
        """Begin to connect. Returns what `start` awaits."""
        self._loop = asyncio.get_running_loop()
        self._first_attempt = self._loop.create_future()
        self._keeper = self._loop.create_task(self._keep_connected(), name="stateroom redis multiplexer")
        return self._first_attempt

    async def aclose(self) -> None:
        """Fail all commands that wait (kind `closed`), close the connection, end the task."""
        self._is_closed = True
        fault = StoreUnavailable("the Redis client is closed", kind="closed")
        self.fail_queued(fault)
        if self._link is not None:
            self._link.lose(fault)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    def execute(self, *command: Argument) -> asyncio.Future[Any]:
        """Send one short command, once. See `send`."""
        return self.send(command, Again.NEVER)

    def send(self, command: tuple[Argument, ...], again: int) -> asyncio.Future[Any]:
        """Send one short command. Await the future for its reply. `again`: what happens to it if the connection is lost.

        Raises `StoreUnavailable` at once if the breaker is open, the client is closed or `max_pending` commands wait.
        The future raises `StoreUnavailable`, or redis-py's `ResponseError` if the reply is the command's own error.
        """
        link = self._link
        if link is None:
            self._check_may_queue()
        elif len(link.waiting) >= self._max_pending:
            raise _too_many()
        loop = self._loop
        now = loop.time()
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]
        waiting = Waiting(loop.create_future(), command[0], packed, perf_counter(), now, now, again)  # type: ignore[arg-type]
        if link is not None:
            link.send(waiting)
        else:
            self._enqueue(waiting)
        return waiting.future

    def drop(self, fault: StoreUnavailable) -> None:
        """Close the connection and make another one, because its server may not be the primary any more."""
        if self._link is not None:
            self._link.lose(fault)

    def fail_queued(self, fault: StoreUnavailable, *, only: int | None = None) -> None:
        """Fail the commands that wait for a connection. `only`: those with this `Again`."""
        for waiting in self._take_queued(tuple(Again) if only is None else (only,)):
            fail(waiting.future, fault, self._on_fault)

    def hand_over(self, to: Multiplexer) -> None:
        """Send the queued commands over `to`, which is connected. `Again.NEVER`: it stays, because it is for this connection."""
        link = to._link
        assert link is not None, "the commands would wait again"
        now = self._loop.time()
        for waiting in self._take_queued((Again.UNSENT, Again.ONCE)):
            if len(link.waiting) >= to._max_pending:
                fail(waiting.future, _too_many(), self._on_fault)
            elif not waiting.future.done():
                waiting.sent_at = now
                link.send(waiting)

    def _take_queued(self, kinds: Collection[int]) -> list[Waiting]:
        """Remove the queued commands whose `again` is one of these. The oldest comes first."""
        taken = [waiting for waiting in self._queued if waiting.again in kinds]
        self._queued = deque(waiting for waiting in self._queued if waiting.again not in kinds)
        if self._queue_timer is not None and not self._queued:
            self._queue_timer.cancel()
            self._queue_timer = None
        return taken

    def hurry(self) -> None:
        """Try to connect now. A Sentinel says that there is a primary again."""
        self._breaker.probe_soon()
        self._hurry.set()

    def _check_may_queue(self) -> None:
        if self._keeper is None:
            raise StoreUnavailable("the application has not started", kind="closed")
        if self._is_closed:
            raise StoreUnavailable("the Redis client is closed", kind="closed")
        self._breaker.check()
        if len(self._queued) >= self._max_pending:
            raise _too_many()

    def _enqueue(self, waiting: Waiting) -> None:
        self._queued.append(waiting)
        if self._queue_timer is None:
            self._queue_timer = waiting.future.get_loop().call_at(waiting.asked_at + self._read_timeout, self._expire_queued)

    def _expire_queued(self) -> None:
        self._queue_timer = None
        loop = asyncio.get_running_loop()
        while self._queued:
            due = self._queued[0].asked_at + self._read_timeout
            if due > loop.time():
                self._queue_timer = loop.call_at(due, self._expire_queued)
                return
            fail(self._queued.popleft().future, overdue(self._read_timeout), self._on_fault)

    def _take_back(self, waiting: Waiting) -> bool:
        """Queue a command of a lost connection for the next one. False if it cannot wait for that."""
        if self._is_closed or not self._breaker.is_closed or waiting.future.done():
            return False
        if waiting.asked_at + self._read_timeout <= self._loop.time():
            return False
        self._enqueue(waiting)  # the oldest first, and nothing was queued while there was a connection
        return True

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        was_short = False
        while not self._is_closed:  # redis-py may swallow a cancellation that comes while it connects
            try:
                async with asyncio.timeout(self._connect_timeout):
                    connection = await self._open_connection()
            except Exception as error:  # noqa: BLE001 (no error may end this task)
                self._attempt_failed(error)
                await self._pause()
                self._breaker.begin_probe()
                continue
            since = loop.time()
            fault = await self._serve(connection)
            was_short, is_short = not self._is_patient or was_short, loop.time() - since < SHORT_LIFE_SECONDS
            if (is_short and was_short) or (fault.kind == "timeout" and not self._is_patient):
                self._breaker.trip(fault.detail)
            was_short = is_short
            if not self._breaker.is_closed:
                await self._pause()
                self._breaker.begin_probe()

    def _attempt_failed(self, error: Exception) -> None:
        fault = as_store_fault(error)
        if fault is None:
            fault = StoreUnavailable(f"Redis: {str(error) or type(error).__name__}")
            fault.__cause__ = error
        self._breaker.trip(fault.detail, error)
        if self._on_fault is not None and not self._queued:  # each queued command counts as an error too
            self._on_fault(fault)
        self.fail_queued(fault)
        self._report_first(error)

    async def _serve(self, connection: AbstractConnection) -> StoreUnavailable:
        """Send the queued commands and all later ones over this connection, until it is lost. Returns why."""
        link = Link(
            connection,
            read_timeout=self._read_timeout,
            write_timeout=self._write_timeout,
            observe=self._observe,
            on_fault=self._on_fault,
            on_leave=self._on_leave,
            on_push=self._on_push,
            on_lost=self._forget_link,
            take_back=self._take_back,
        )
        try:
            if self._is_closed:
                return StoreUnavailable("the Redis client is closed", kind="closed")
            self._link = link
            if self._on_connected is not None:
                self._on_connected()
            self._breaker.reset()
            self._report_first(None)
            now = asyncio.get_running_loop().time()
            while self._queued:
                waiting = self._queued.popleft()
                if not waiting.future.done():
                    waiting.sent_at = now
                    link.send(waiting)
            self.fail_queued(StoreUnavailable())  # the queue is empty: this only ends the timer
            return await self._until_lost(link)
        finally:
            link.lose(StoreUnavailable("the Redis client is closed", kind="closed"))
            await link.aclose()

    async def _until_lost(self, link: Link) -> StoreUnavailable:
        while self._keep_alive is not None and not link.lost.done():
            before = link.flushes
            await asyncio.wait([link.lost], timeout=self._keep_alive)
            if link.flushes == before and not link.waiting and not link.lost.done():
                self.execute("PING").add_done_callback(_ignore)
        return await link.lost

    def _forget_link(self, fault: StoreUnavailable) -> None:
        """Forget the link at once, before the keeper runs: a command on a lost link would wait for ever."""
        self._link = None
        if self._on_lost is not None:
            self._on_lost(fault)

    async def _pause(self) -> None:
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._breaker.seconds_to_probe()):
                await self._hurry.wait()

    def _report_first(self, error: BaseException | None) -> None:
        if self._first_attempt is not None and not self._first_attempt.done():
            self._first_attempt.set_result(error)


def _too_many() -> StoreUnavailable:
    return StoreUnavailable("too many commands wait for Redis", kind="overloaded")


def _ignore(reply: asyncio.Future[Any]) -> None:
    """A PING without a reply ends its connection. Nobody else waits for its error."""
    if not reply.cancelled():
        reply.exception()
