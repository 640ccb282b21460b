"""Responses that are sent as ready bytes.

For a `web.Response` aiohttp fills a mapping of headers, passes it to each signal, completes it and serialises it. These are
about twenty calls for header lines that hardly differ between responses, and a quarter of a whole session check. Here the
lines are text from the beginning, and the common lines of all responses are built once a second.

This depends on the insides of `web.Response` (`insides/of_aiohttp.py`). A `ReadyResponse` becomes an ordinary response as
soon as any code asks for its headers. With an aiohttp whose insides we do not know, every response is an ordinary one.
`tests/test_ready.py` compares the two byte by byte.
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
    """The header lines of every response of one application, with the date.

    They replace the handlers `stands_for` of `on_response_prepare`, which would set the same headers. If the application
    has other handlers of this signal too, all its responses are ordinary ones.

    `_lines`, `_date`: the common lines for the second `_second`, and the one with the date among them.
    `_apps`: the application if its responses may be ready, otherwise empty.
    """

    def __init__(self, headers: Mapping[str, str], *, stands_for: Sequence[object]) -> None:
        self._stands_for = list(stands_for)
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._second = 0
        self._lines = self._date = ""
        self._apps: tuple[web.Application, ...] = ()
        self.put: Put | None = None

    async def serve(self, app: web.Application) -> None:
        """Called when the application starts: decide whether its responses may be ready."""
        self.put = Outbox(asyncio.get_running_loop()).put
        self._apps = (app,) if list(app.on_response_prepare) == self._stands_for else ()

    def lines_for(self, request: web.Request, *, by_proxy: bool = False) -> str | None:
        """The common lines of a response to this request. None if other signals or an outer application may add headers.

        `by_proxy`: of a response that only a proxy reads (`ProxyResponse`).
        """
        if request.match_info.apps != self._apps:
            return None
        second = int(time())
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n"
            self._lines = f"{self._fixed}{self._date}"
        return self._date if by_proxy else self._lines


class ReadyResponse(of_aiohttp.LazyResponse):
    """A response with status 200, a body and header lines. Each line ends in CR LF and must not repeat a client's raw input.

    Any code may ask for `headers` and the other attributes. The response is then sent in aiohttp's ordinary way.
    """

    _is_read_by_proxy = False

    def complete(self, request: web.Request, lines: str, common: CommonLines) -> bool:
        """Build the bytes from the response's own lines, `lines` and the common lines. False if aiohttp must send it."""
        body = self.untouched_body()
        if body is None or request.method == "HEAD" or request.version != HttpVersion11 or not request.keep_alive:
            return False
        common_lines = common.lines_for(request, by_proxy=self._is_read_by_proxy)
        if common_lines is None:
            return False
        head = f"HTTP/1.1 200 OK\r\n{self._lines}{common_lines}{lines}Content-Length: {len(body)}\r\n\r\n"
        self._bytes = head.encode("ascii") + body
        self._put = common.put
        return True


class ProxyResponse(ReadyResponse):
    """A response that a proxy reads and does not pass on. Of the common lines it has only the date.

    The others are for browsers, and nginx needs a tenth of its time for a request to read them. A response that is sent in
    aiohttp's ordinary way has them all.
    """

    _is_read_by_proxy = True


def ordinary_response(body: bytes, lines: str, *, status: int = 200) -> web.Response:
    """An ordinary response of aiohttp, with this body and these header lines."""
    return web.Response(body=body, status=status, headers=of_aiohttp.header_pairs(lines))


class _MakeResponse(Protocol):
    def __call__(self, body: bytes, lines: str, *, status: int = 200) -> web.Response: ...


ready_response: _MakeResponse = ReadyResponse if of_aiohttp.is_known() else ordinary_response
"""Makes a response from a body and header lines. It can be sent as ready bytes if we know this aiohttp's insides."""
proxy_response: _MakeResponse = ProxyResponse if of_aiohttp.is_known() else ordinary_response
"""`ready_response` for a response that only a proxy reads."""
