"""The insides of aiohttp: the attributes of a response, the state of a connection, the answers of a router.

Callers ask `is_known()` once, when they are imported or when the application starts. If it is False, they use nothing else
of this file.
"""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError, hdrs, web
from multidict import CIMultiDict
from yarl import URL

from .library import Library

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.typedefs import Handler, Middleware

    Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Put = Callable[[asyncio.Transport, bytes], None]

AIOHTTP = Library("aiohttp", tested=frozenset({"3.14"}))

_UNTOUCHED = 4
"""How many attributes a `LazyResponse` has until it is changed."""


def is_known() -> bool:
    """Whether the rest of this file fits the installed aiohttp."""
    return AIOHTTP.is_known


class LazyResponse(web.Response):
    """A response whose headers are text. A mapping of headers is made only if code asks for it.

    It is sent in aiohttp's own way, unless a subclass has set `_bytes`: these then replace status, headers and body, and
    `_put` sends them together with those of other responses. Each of `lines` ends in CR LF.
    """

    _bytes: bytes | None = None
    _put: Put | None = None
    _zlib_executor_size = 1 << 20
    _zlib_executor = None

    def __init__(self, body: bytes, lines: str, *, status: int = 200) -> None:
        # This replaces aiohttp's constructor, which sets these attributes and those that are properties below.
        self._body = body
        self._lines = lines
        self._status = status
        self._reason = "OK"
        if status != 200:
            self._set_status(status, None)

    @cached_property
    def _headers(self) -> CIMultiDict[str]:  # type: ignore[override]
        return CIMultiDict(header_pairs(self._lines))

    @cached_property
    def _state(self) -> dict[Any, Any]:  # type: ignore[override]
        return {}

    def untouched_body(self) -> bytes | None:
        """The body of an unchanged response with status 200; None if it must be sent in aiohttp's own way."""
        body = self._body
        # Headers, cookies, compression and closing the connection would each add an attribute.
        return body if len(self.__dict__) == _UNTOUCHED and self._status == 200 and type(body) is bytes else None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        data = self._bytes
        if data is None or self._eof_sent:
            return await super().prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has gone")
        self._eof_sent = self._keep_alive = True
        self._body_length = len(data)
        protocol, put = request.protocol, self._put
        # If the next response or the end of the connection may follow at once, this response must not wait.
        if put is not None and not (protocol._messages or protocol._close or protocol.writing_paused):  # noqa: SLF001
            put(transport, data)
            return request.writer
        transport.write(data)
        if protocol.writing_paused:  # the client does not read: wait until it does
            await request.writer.drain()
        return request.writer


def header_pairs(lines: str) -> list[tuple[str, str]]:
    """The names and values of header lines."""
    split = (line.partition(": ") for line in lines.splitlines())
    return [(name, value) for name, _, value in split]


async def ask_router(app: web.Application, method: str, path: str) -> web.UrlMappingMatchInfo:
    """The router's match for a request with this path, which is encoded as in a request line."""
    question: Any = SimpleNamespace(method=method, rel_url=URL(path, encoded=True), headers=CIMultiDict[str]())
    match = await app.router.resolve(question)
    match.add_app(app)
    match.freeze()
    return match


def is_new_style(middleware: Middleware) -> bool:
    """Whether a middleware takes the request and the handler. The old style takes the application and returns a handler."""
    return getattr(middleware, "__middleware_version__", None) == 1


def dispatch(matches: Mapping[tuple[str, str], tuple[web.UrlMappingMatchInfo, Handler]], otherwise: Handle) -> Handle:
    """Return a handler that uses the match for a request's method and path.

    It passes requests without a match, and those with `Expect`, to `otherwise`.
    """

    def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        found = matches.get((request.method, request.raw_path))
        if found is None or hdrs.EXPECT in request.headers:
            return otherwise(request)
        request._match_info, handler = found  # type: ignore[attr-defined]  # noqa: SLF001
        return handler(request)  # type: ignore[arg-type]

    return handle


def take_back(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Undo a `prepare` that failed before the headers left: another response can be sent in its place.

    `prepare` tells the request's writer first that the body will be chunked, compressed or so many bytes long.
    """
    writer: Any = request.writer
    writer.chunked, writer.length, writer._compress = False, None, None  # noqa: SLF001
    response._payload_writer = None  # noqa: SLF001


def options_of(server: web.Server) -> dict[str, Any]:
    """The options with which the server makes its connections. They include the application's `handler_args`."""
    return server._kwargs  # noqa: SLF001


def awaits_body(connection: web.RequestHandler) -> bool:
    """Whether the connection handles a request whose body has not arrived completely."""
    request = connection._current_request  # noqa: SLF001
    return request is not None and not request.content.is_eof()
