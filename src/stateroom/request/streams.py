"""Open WebSockets and streams end with their session.

A response that stays open is registered here while its handler runs. If a new row in the journal ends a session, its open
responses are closed on every worker, within the interval in which the journal is read. This works while Redis is unavailable.
Redis is asked at intervals for sessions that expired, for sessions that ended without a journal, and, while the journal is
unavailable, for the tombstones of sessions that another worker has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, web

from ..errors import SessionEnded, StateroomError, Unavailable
from ..logs import get_logger

if TYPE_CHECKING:
    from ..sessions.model.clock import Clock
    from ..sessions.model.record import SessionRecord
    from ..sessions.model.rows import Row
    from ..sessions.watch import SessionWatch

log = get_logger(__name__)

CLOSE_CODE = 4401
"""For WebSockets; 4000 to 4999 are for applications (RFC 6455, section 7.4.2)."""
CLOSE_SECONDS = 5.0
ASKED_AT_ONCE = 64


class Stream:
    """One response that stays open, and its session. `expires_ms`: when that expires, as far as this worker knows."""

    def __init__(self, request: web.Request, response: web.StreamResponse, record: SessionRecord) -> None:
        self.ref = record.ref
        self.carried = record.carried
        self.expires_ms = record.expires_ms
        self._response = response
        self._task = request.task
        self._is_over = False

    async def close(self, reason: str) -> None:
        """Close it in order, then cancel a handler that goes on writing."""
        if self._is_over:
            return
        log.info("stream_closed", session=self.ref.handle, reason=reason)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if isinstance(self._response, web.WebSocketResponse):
                    await self._response.close(code=CLOSE_CODE, message=f"session ended: {reason}".encode())
                    return
                await self._response.write_eof()
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            log.debug("stream_not_closed_in_order", error=str(error))
        if not self._is_over:  # else the task may be at the connection's next request
            self._task.cancel()

    def end(self) -> None:
        """Its handler is done."""
        self._is_over = True


def stays_open(response: web.StreamResponse) -> bool:
    """Whether a handler writes to the response bit by bit. A page, or a file that is sent, ends by itself."""
    return not isinstance(response, web.Response | web.FileResponse)


async def break_off(request: web.Request, response: web.StreamResponse, error: Exception) -> web.StreamResponse:
    """End a response that has begun, because its handler raised. A second response would be read as part of the first.

    A WebSocket is closed with a code that says whether trying again helps. A stream is aborted: its client sees that it is
    incomplete. A response that is complete stays.
    """
    is_over = response.body_length > 0  # aiohttp sets it with the last byte
    if isinstance(response, web.WebSocketResponse):
        code = WSCloseCode.TRY_AGAIN_LATER if isinstance(error, Unavailable) else WSCloseCode.INTERNAL_ERROR
        log.warning("stream_broken_off", how="websocket closed", code=int(code), error=type(error).__name__, reason=str(error))
        message = error.title if isinstance(error, StateroomError) else ""
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await response.close(code=code, message=message.encode())
        return response
    how = "response was complete" if is_over else "stream aborted"
    log.warning("stream_broken_off", how=how, error=type(error).__name__, reason=str(error))
    if not is_over and request.transport is not None:
        request.transport.abort()
    return response


class Streams:
    """The open responses of one application.

    `_open`: by the handle of their session; no set is empty. `_closing`: those that are being closed.
    """

    def __init__(self, watch: SessionWatch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock
        self._open: dict[str, set[Stream]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def add(self, stream: Stream) -> None:
        """Its handler begins to write."""
        self._open.setdefault(stream.ref.handle, set()).add(stream)

    def check_open(self, record: SessionRecord) -> None:
        """Raises `SessionEnded` if the session's end was heard since it was loaded: that found no stream to close."""
        reason = self._watch.reason(record.ref, record.carried)
        if reason is not None:
            raise SessionEnded(reason)

    def end(self, stream: Stream) -> None:
        """Its handler is done."""
        stream.end()
        self._discard(stream)

    def let_go(self, stream: Stream) -> None:
        """Its session is getting a new id, so the end of the old id must not close it."""
        self._discard(stream)

    def take_up(self, stream: Stream, record: SessionRecord) -> None:
        """Its session is this now. If that has ended, the stream is closed at once."""
        stream.ref, stream.carried, stream.expires_ms = record.ref, record.carried, record.expires_ms
        reason = record.ended or self._watch.reason(record.ref, record.carried)
        self.add(stream)
        if reason is not None:
            self._close(stream, reason)

    def _discard(self, stream: Stream) -> None:
        same = self._open.get(stream.ref.handle)
        if same is not None:
            same.discard(stream)
            if not same:
                del self._open[stream.ref.handle]

    def hear(self, rows: Sequence[Row]) -> None:
        """Close the streams whose sessions these new rows of the journal end."""
        if not self._open:
            return
        for row in rows:
            streams = self._all() if row.handle is None else list(self._open.get(row.handle, ()))
            for stream in streams:
                if row.ends(stream.ref, stream.carried):
                    self._close(stream, row.reason)

    async def check(self) -> None:
        """Close streams of sessions that expired, or ended while the journal is unavailable. Raises `StoreUnavailable`."""
        watch, now = self._watch, self._clock.now_ms()
        if watch.is_journal_away:
            await self._look_for_tombstones()
        for stream in self._all():
            if stream.expires_ms > now and watch.has_journal:
                continue
            expires_ms = await watch.expiry_of(stream.ref)
            if expires_ms is not None:  # renewed by other requests
                stream.expires_ms = expires_ms
            elif stream.expires_ms <= now or not watch.has_journal:
                self._close(stream, "expired")

    async def aclose(self) -> None:
        """Cancel the tasks that close streams."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _look_for_tombstones(self) -> None:
        streams = self._all()
        for begin in range(0, len(streams), ASKED_AT_ONCE):
            some = streams[begin : begin + ASKED_AT_ONCE]
            reasons = await asyncio.gather(*(self._watch.tombstone(stream.ref) for stream in some))
            for stream, reason in zip(some, reasons, strict=True):
                if reason is not None:
                    self._close(stream, reason)

    def _all(self) -> list[Stream]:
        return [stream for same in self._open.values() for stream in same]

    def _close(self, stream: Stream, reason: str) -> None:
        self._discard(stream)
        task = asyncio.get_running_loop().create_task(stream.close(reason), name="stateroom stream's end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
