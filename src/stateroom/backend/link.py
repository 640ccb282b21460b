"""One connection that many callers share: commands are sent together, and replies come in the order of the commands.

The link takes the transport over from redis-py with `set_protocol`
(https://docs.python.org/3/library/asyncio-protocol.html), because a reader task would cost one wake-up for each batch of
replies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import hiredis
import msgspec
from redis.exceptions import InvalidResponse, RedisError

from ..errors import StoreUnavailable
from ..insides import of_redis
from .client import as_mapping
from .faults import as_store_fault, is_dead_connection
from .write_watch import SECOND_LOOK_SECONDS, WriteWatch, patience

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

ObserveCommand: TypeAlias = Callable[[str, float], None]
ObserveFault: TypeAlias = Callable[[StoreUnavailable], None]

_NOTHING = object()


class Again(IntEnum):
    """Whether a command whose connection was lost is sent over the next connection.

    `NEVER`: it is for this connection only. `UNSENT`: if no byte of it was written, so that it cannot run twice.
    `ONCE`: also if it was sent and has no reply. It may run twice, but after that as `UNSENT`.
    """

    NEVER = 0
    UNSENT = 1
    ONCE = 2


class Waiting(msgspec.Struct, eq=False):  # made in C: there is one for each command
    """A command without a reply.

    `asked_at`, `sent_at`: when it was asked for and when it was given to a link, by the loop's clock: `asked_at <= sent_at`.
    `began`: when it was asked for, by a finer clock, because uvloop's clock has milliseconds.
    `again`: what happens to it if the connection is lost.
    """

    future: asyncio.Future[Any]
    name: str
    packed: bytes
    began: float
    asked_at: float
    sent_at: float
    again: int


class Link(asyncio.Protocol):
    """One connection, from the end of its handshake until it is lost.

    `waiting`: commands without a reply, the oldest first. The next reply belongs to the first of them. A cancelled command
    stays until its reply has come. Empty once the link is lost.
    `_outgoing`: commands in `waiting` that are not written yet; `len(_outgoing) <= len(waiting)`. While there are any, a flush is
    scheduled for this loop tick.
    `flushes`: how often commands were written; it never decreases.
    `_timer`: runs while anything waits. `lost`: set once, with the reason.
    `take_back(waiting)`: called for each command that may be sent over the next connection. If it returns false, the command fails.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        *,
        read_timeout: float,
        write_timeout: float,
        observe: ObserveCommand | None,
        on_fault: ObserveFault | None,
        on_leave: Callable[[], None] | None,
        on_push: Callable[[list[Any]], None] | None,
        on_lost: Callable[[StoreUnavailable], None],
        take_back: Callable[[Waiting], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._read_timeout = read_timeout
        self._observe = observe
        self._on_fault = on_fault
        self._on_leave = on_leave
        self._on_push = on_push
        self._on_lost = on_lost
        self._take_back = take_back
        self.waiting: deque[Waiting] = deque()
        self._outgoing: list[bytes] = []
        self.flushes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._write_watch = WriteWatch(self._loop, write_timeout, self.lose)
        self.lost: asyncio.Future[StoreUnavailable] = self._loop.create_future()
        self._parser = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=of_redis.error_maker_of(connection),
            notEnoughData=_NOTHING,
        )
        self._transport = transport = of_redis.transport_of(connection)
        self._dialled_by = transport.get_protocol()
        transport.set_protocol(self)

    def send(self, waiting: Waiting) -> None:
        """Queue a command. It is written together with all others of this loop tick."""
        self.waiting.append(waiting)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(waiting.packed)
        if self._timer is None:
            self._look_again_at(waiting.asked_at + self._read_timeout)

    def lose(self, fault: StoreUnavailable) -> None:
        """Close the connection. Commands that wait on it go to the next connection if `Again` allows it, or fail with `fault`."""
        if self.lost.done():
            return
        self.lost.set_result(fault)
        self._on_lost(fault)
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write_watch.resumed()
        sent = len(self.waiting) - len(self._outgoing)
        self._outgoing.clear()
        for number, waiting in enumerate(self.waiting):
            may_repeat = waiting.again == Again.ONCE if number < sent else waiting.again != Again.NEVER
            if number < sent:
                waiting.again = min(waiting.again, Again.UNSENT)
            if not (may_repeat and self._take_back(waiting)):
                fail(waiting.future, fault, self._on_fault)
        self.waiting.clear()

    async def aclose(self) -> None:
        """Let redis-py clean up its connection. The link must be lost already."""
        with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
            await self._connection.disconnect(nowait=True)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        parser, waiting = self._parser, self.waiting
        now = perf_counter()
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _NOTHING:
                if type(reply) is hiredis.PushNotification:
                    if self._on_push is not None:
                        self._on_push(reply)
                    continue
                if not waiting:
                    self.lose(StoreUnavailable("Redis sent a reply without a command"))
                    return
                self._hand_over(waiting.popleft(), reply, now)
        except InvalidResponse as error:
            self.lose(StoreUnavailable(f"Redis sent data that is not RESP: {error}"))

    def pause_writing(self) -> None:
        self._write_watch.paused()

    def resume_writing(self) -> None:
        self._write_watch.resumed()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._dialled_by.connection_lost(exc)  # redis-py waits for this in disconnect()
        self.lose(StoreUnavailable(f"Redis closed the connection{f': {exc}' if exc else ''}"))

    def _hand_over(self, waiting: Waiting, reply: Any, now: float) -> None:
        if self._observe is not None:
            self._observe(waiting.name, now - waiting.began)
        future = waiting.future
        if isinstance(reply, Exception):
            fault = as_store_fault(reply)
            fail(future, fault or reply, self._on_fault)
            if fault is not None and is_dead_connection(reply):
                self.lose(fault)
        elif not future.done():
            future.set_result(as_mapping(reply) if waiting.name == "HGETALL" else reply)

    def _flush(self) -> None:
        outgoing = self._outgoing
        if outgoing:
            self.flushes += 1
            if self._on_leave is not None:
                self._on_leave()
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
            outgoing.clear()

    def _look_at_oldest(self) -> None:
        """Fail callers whose time is up. If the server is overdue, look once more before closing the connection."""
        self._timer = None
        if not self.waiting:
            return
        now = self._loop.time()
        oldest = self.waiting[0]
        if oldest.sent_at + self._read_timeout <= now:
            self._timer = self._loop.call_later(patience(now - self._timer_due), self._judge, oldest)
            return
        for waiting in self.waiting:
            if waiting.asked_at + self._read_timeout > now:
                break
            fail(waiting.future, overdue(self._read_timeout), self._on_fault)
        next_at = next((w.asked_at for w in self.waiting if not w.future.done()), oldest.sent_at)
        self._look_again_at(max(next_at + self._read_timeout, now + SECOND_LOOK_SECONDS))

    def _look_again_at(self, due: float) -> None:
        self._timer_due = due
        self._timer = self._loop.call_at(due, self._look_at_oldest)

    def _judge(self, suspect: Waiting) -> None:
        self._timer = None
        if self.waiting and self.waiting[0] is suspect:
            self.lose(overdue(self._read_timeout))
        else:
            self._look_at_oldest()


def overdue(read_timeout: float) -> StoreUnavailable:
    """The fault for a command that got no reply in time."""
    return StoreUnavailable(f"Redis did not reply within {read_timeout:g} s", kind="timeout")


def fail(future: asyncio.Future[Any], error: Exception, on_fault: ObserveFault | None) -> None:
    """Raise the error in the caller, if it still waits. `on_fault` is called for faults of the store only.

    A caller can end before it awaits its reply: one of several replies has failed, or the caller was cancelled. asyncio would
    log each error that nobody fetches.
    """
    if not future.done():
        future.set_exception(error)
        future.exception()
        if on_fault is not None and isinstance(error, StoreUnavailable):
            on_fault(error)
