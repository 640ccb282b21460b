"""Open WebSockets and streams end with their session.

What a handler keeps open long after its session was loaded is noted here while the handler runs. New rows of the
journal's tail close what they end, within a read's interval, on every worker, while Redis is away too. A session that
expires, or ends where there is no journal, is found by asking the store now and then; so is one whose end was
acknowledged by another worker while the journal is away, by the mark that such an end leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from ..errors import SessionEnded, StoreUnavailable

if TYPE_CHECKING:
    from .manager import SessionManager
    from .rows import Row
    from .session import Session

log = structlog.get_logger(__name__)

CLOSE_CODE = 4401
"""Of WebSockets; 4000 to 4999 are for applications (RFC 6455, 7.4.2)."""
CLOSE_SECONDS = 5.0
ASKED_AT_ONCE = 64


class Stream:
    """One response that stays open, and whose it is."""

    def __init__(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        self.session = session
        self.address = session.address
        self.generation = session.generation
        self.expires_ms = session.expires_ms
        self._response = response
        self._task = request.task

    async def close(self, reason: str) -> None:
        """End it in order; a handler that goes on writing is cancelled."""
        log.info("stream_closed", session=self.address.handle, reason=reason)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if isinstance(self._response, web.WebSocketResponse):
                    await self._response.close(code=CLOSE_CODE, message=f"session ended: {reason}".encode())
                    return
                await self._response.write_eof()
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            log.debug("stream_not_closed_in_order", error=str(error))
        self._task.cancel()


def stays_open(response: web.StreamResponse) -> bool:
    """Whether a handler writes to it bit by bit; a page, or a file that is sent, is over by itself."""
    return not isinstance(response, web.Response | web.FileResponse)


class Streams:
    """The open ones of one application."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self._open: dict[str, set[Stream]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def add(self, stream: Stream) -> None:
        self._open.setdefault(stream.address.handle, set()).add(stream)

    def check_open(self, session: Session) -> None:
        """An end that was heard since the session was loaded found no stream to close. Raises `SessionEnded`."""
        reason = self._manager.stores.tail.reason(session.user, session.handle, session.generation)
        if reason is not None:
            raise SessionEnded(reason)

    def discard(self, stream: Stream) -> None:
        """Its handler is done."""
        same = self._open.get(stream.address.handle)
        if same is not None:
            same.discard(stream)
            if not same:
                del self._open[stream.address.handle]

    def hear(self, rows: Sequence[Row]) -> None:
        """New rows of the journal."""
        if not self._open:
            return
        for row in rows:
            streams = self._all() if row.handle is None else list(self._open.get(row.handle, ()))
            for stream in streams:
                if row.ends(stream.address.user, stream.address.handle, stream.generation):
                    self._close(stream, row.reason)

    async def check(self) -> None:
        """Close what has expired, or ended while the journal is away. Raises `StoreUnavailable`."""
        stores, now = self._manager.stores, self._manager.clock.now_ms()
        if stores.tail.is_away:
            await self._look_for_marks()
        for stream in self._all():
            if stream.expires_ms > now and stores.honour.is_kept:
                continue
            fields = await stores.store.load(stream.address)
            if fields is not None:  # renewed by other requests
                stream.expires_ms = min(int(fields[b"r"]) + int(fields[b"i"]), int(fields[b"d"]))
            elif stream.expires_ms <= now or not stores.honour.is_kept:
                self._close(stream, "expired")

    async def aclose(self) -> None:
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _look_for_marks(self) -> None:
        streams = self._all()
        for begin in range(0, len(streams), ASKED_AT_ONCE):
            some = streams[begin : begin + ASKED_AT_ONCE]
            reasons = await asyncio.gather(*(self._marked(stream) for stream in some))
            for stream, reason in zip(some, reasons, strict=True):
                if reason is not None:
                    self._close(stream, reason)

    async def _marked(self, stream: Stream) -> str | None:
        with contextlib.suppress(StoreUnavailable):  # a Cluster's other shards answer
            return await self._manager.store.marked_end(stream.address)
        return None

    def _all(self) -> list[Stream]:
        return [stream for same in self._open.values() for stream in same]

    def _close(self, stream: Stream, reason: str) -> None:
        self.discard(stream)
        task = asyncio.get_running_loop().create_task(stream.close(reason), name="stateroom stream's end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
