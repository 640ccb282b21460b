"""Answers that leave as ready bytes.

For a `web.Response` aiohttp fills a mapping of headers, has each signal look at it, completes it and serialises it: some
twenty calls for lines that hardly differ from one answer to the next, a quarter of a whole session check. Here the lines
are text from the start, and what every answer carries is written once a second.

This depends on what `web.Response` does inside (`insides/of_aiohttp.py`): a `ReadyResponse` becomes an ordinary response
as soon as anybody asks for its headers. With an aiohttp whose insides we don't know, every response is an ordinary one from
the start. `tests/test_ready.py` compares the two byte by byte.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Protocol

from aiohttp import HttpVersion11, web

from .insides import of_aiohttp
from .outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .insides.of_aiohttp import Put

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
        self.put: Put | None = None

    async def serve(self, app: web.Application) -> None:
        """This application starts."""
        self.put = Outbox(asyncio.get_running_loop()).put
        self._apps = (app,) if list(app.on_response_prepare) == self._stands_for else ()

    def lines_for(self, request: web.Request) -> str | None:
        """The lines of an answer to this request. None if it may get others: from another signal, or application around."""
        if request.match_info.apps != self._apps:
            return None
        second = int(time())
        if second != self._second:
            self._second = second
            self._lines = f"{self._fixed}Date: {formatdate(second, usegmt=True)}\r\n"
        return self._lines


class ReadyResponse(of_aiohttp.LazyResponse):
    """A 200 with a body and header lines, each of which ends in CR LF and holds nothing that a client wrote as it came.

    `headers` and the rest are there for whoever asks; the answer then takes aiohttp's ordinary way.
    """

    def complete(self, request: web.Request, lines: str, common: CommonLines) -> bool:
        """Make the answer's bytes of its lines, these and the common ones; False where it must go the ordinary way."""
        body = self.untouched_body()
        if body is None or request.method == "HEAD" or request.version != HttpVersion11 or not request.keep_alive:
            return False
        common_lines = common.lines_for(request)
        if common_lines is None:
            return False
        head = f"HTTP/1.1 200 OK\r\n{self._lines}{common_lines}{lines}Content-Length: {len(body)}\r\n\r\n"
        self._bytes = head.encode("ascii") + body
        self._put = common.put
        return True


def ordinary_response(body: bytes, lines: str, *, status: int = 200) -> web.Response:
    """An ordinary response of aiohttp, with this body and these header lines."""
    return web.Response(body=body, status=status, headers=of_aiohttp.header_pairs(lines))


class _MakeResponse(Protocol):
    def __call__(self, body: bytes, lines: str, *, status: int = 200) -> web.Response: ...


ready_response: _MakeResponse = ReadyResponse if of_aiohttp.is_known() else ordinary_response
"""Makes a response of a body and header lines: one that can leave as ready bytes, where we know how."""
