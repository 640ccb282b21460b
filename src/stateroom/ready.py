"""Answers that leave as ready bytes.

For a `web.Response` aiohttp fills a mapping of headers, has each signal look at it, completes it and serialises it: some
twenty calls for lines that hardly differ from one answer to the next, a quarter of a whole session check. Here the lines
are text from the start, and what every answer carries is written once a second.

This file knows aiohttp from inside: which private attributes `web.Response` reads, so that a
`ReadyResponse` is an ordinary one as soon as anybody wants its headers. `tests/test_ready.py` compares the two byte by
byte.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import cached_property
from time import time
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from multidict import CIMultiDict

from .outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aiohttp.abc import AbstractStreamWriter

_UNTOUCHED = 4
"""Attributes that a `ReadyResponse` has of its own while nobody has done anything to it."""

JSON_LINES = "Content-Type: application/json\r\nCache-Control: no-store\r\n"


class CommonLines:
    """The header lines that every answer of one application carries, with the date.

    They stand for what these handlers of `on_response_prepare` would set: answers are ready only while there are no others.
    """

    def __init__(self, headers: Mapping[str, str], *, stands_for: Sequence[object]) -> None:
        self._stands_for = list(stands_for)
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._second = 0
        self._lines = ""
        self._apps: tuple[web.Application, ...] = ()
        self.outbox: Outbox | None = None

    async def serve(self, app: web.Application) -> None:
        """This application starts."""
        self.outbox = Outbox(asyncio.get_running_loop())
        self._apps = (app,) if list(app.on_response_prepare) == self._stands_for else ()

    def stand_for(self, request: web.Request) -> bool:
        """Whether nobody else has a say in the answer: no other signal, no application around this one."""
        return request.match_info.apps == self._apps

    def now(self) -> str:
        second = int(time())
        if second != self._second:
            self._second = second
            self._lines = f"{self._fixed}Date: {formatdate(second, usegmt=True)}\r\n"
        return self._lines


class ReadyResponse(web.Response):
    """A 200 with a body and header lines (each ends in CR LF), which hold nothing that a client wrote as it came.

    `headers` and the rest are there for whoever asks; the answer then takes aiohttp's ordinary way.
    """

    _bytes: bytes | None = None
    _outbox: Outbox | None = None
    _zlib_executor_size = 1 << 20
    _zlib_executor = None

    def __init__(self, body: bytes, lines: str = JSON_LINES, *, status: int = 200) -> None:
        # In place of aiohttp's own: these, and what is a property below, are all that it sets.
        self._body = body
        self._lines = lines
        self._status = status
        self._reason = "OK"
        if status != 200:
            self._set_status(status, None)

    @cached_property
    def _headers(self) -> CIMultiDict[str]:  # type: ignore[override]
        lines = (line.partition(": ") for line in self._lines.splitlines())
        return CIMultiDict((name, value) for name, _, value in lines)

    @cached_property
    def _state(self) -> dict[Any, Any]:  # type: ignore[override]
        return {}

    def complete(self, request: web.Request, lines: str, common: CommonLines) -> bool:
        """Make the answer's bytes of its lines, these and the common ones; False where it must go the ordinary way."""
        body = self._body
        if (
            len(self.__dict__) != _UNTOUCHED  # headers, cookies, compression, a connection's end: each would be one more
            or self._status != 200
            or type(body) is not bytes
            or request.method == "HEAD"
            or request.version != HttpVersion11
            or not request.keep_alive
            or not common.stand_for(request)
        ):
            return False
        head = f"HTTP/1.1 200 OK\r\n{self._lines}{common.now()}{lines}Content-Length: {len(body)}\r\n\r\n"
        self._bytes = head.encode("ascii") + body
        self._outbox = common.outbox
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._bytes is None or self._eof_sent:
            return await super().prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has gone")
        self._eof_sent = self._keep_alive = True
        self._body_length = len(self._bytes)
        protocol, outbox = request.protocol, self._outbox
        # Where the next answer or the connection's end may follow at once, this one must not wait.
        if outbox is not None and not (protocol._messages or protocol._close or protocol.writing_paused):  # noqa: SLF001
            outbox.put(transport, self._bytes)
            return request.writer
        transport.write(self._bytes)
        if protocol.writing_paused:  # the client does not read what it asked for: no more of it until it does
            await request.writer.drain()
        return request.writer
