"""The service's server, built on aiohttp's. It handles fixed paths directly, and refuses malformed requests itself.

If aiohttp cannot parse a request, its response contains the versions of Python and aiohttp and the malformed line, and it
logs this line with a traceback. The line may be a cookie. So we respond with a problem document that repeats nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from .. import METRICS
from ..insides import of_aiohttp
from ..logs import get_logger
from ..problems import REQUEST_ID, problem
from ..request.proxies import kept_form
from ..setup import SETTINGS
from ..telemetry.requests import OTHER, REQUEST_ID_HEADER, UNMATCHED
from .fixed_routes import by_fixed_routes
from .stalled import StalledWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Refuse = Callable[[web.BaseRequest, BaseException | None], web.Response]

log = get_logger(__name__)

KEEPALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 20.0
"""How long requests under way may take when the service stops, after their bodies have arrived."""
CANCEL_SECONDS = 0.5
"""aiohttp waits twice for this time: before it cancels a handler, and for the handler to end."""
MAX_HEADERS = 128
_TOO_MANY = "Too many headers received"
"""What aiohttp says of a request with more."""


class Runner(web.ServerRunner):
    """Runs an application that has metrics. `headers`: the headers of the response to a malformed request.

    aiohttp's `AppRunner` starts the application and makes a server. Our own server takes over that server's handler.
    `options` are those of `AppRunner`. With an aiohttp whose insides we do not know, `handler_args` of the application are
    ignored: pass them as `options`.
    """

    def __init__(self, app: web.Application, headers: Mapping[str, str], **options: Any) -> None:
        self._headers = headers
        # If a client disconnects, its handler is not cancelled, because the steps of a sign-in belong together.
        own = {
            "access_log": None,
            "handler_cancellation": False,
            "keepalive_timeout": KEEPALIVE_SECONDS,
            "max_headers": MAX_HEADERS,
        }
        self._options = {**own, **options}
        shutdown_timeout = self._options.pop("shutdown_timeout", SHUTDOWN_SECONDS)
        self._starter = web.AppRunner(app, **self._options)
        self._ours = _Server(self._refuse, handler_cancellation=self._options.pop("handler_cancellation"))
        self._stalled = StalledWrites(self._ours.transports)
        self._watch: asyncio.Task[None] | None = None
        super().__init__(self._ours, shutdown_timeout=shutdown_timeout)

    @property
    def app(self) -> web.Application:
        return self._starter.app

    async def setup(self) -> None:
        await self._starter.setup()
        made = self._starter.server
        assert made is not None
        self._ours.request_handler = await by_fixed_routes(self.app, made.request_handler)
        self._ours.request_factory = made.request_factory
        self._ours.options = of_aiohttp.options_of(made) if of_aiohttp.is_known() else self._options
        await super().setup()
        self._watch = asyncio.create_task(self._stalled.run(), name="stateroom stalled writes")

    def hurry(self) -> None:
        """Cut clients that do not read after a shorter time, because the service stops."""
        self._stalled.hurry()

    async def shutdown(self) -> None:
        await self.app.shutdown()

    async def cleanup(self) -> None:
        try:
            await super().cleanup()
        finally:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.wait([self._watch])
            await self.app.cleanup()

    def _refuse(self, request: web.BaseRequest, error: BaseException | None) -> web.Response:
        """The response to a malformed request. Neither the response nor the log repeats anything of the request."""
        request[REQUEST_ID] = own_id = secrets.token_hex(16)
        settings = self.app.get(SETTINGS)
        address = kept_form(request.remote, settings.session_address if settings is not None else "off")
        log.info("request_malformed", kind=type(error).__name__, address=address, request_id=own_id)
        status, slug, title = 431, "request-header-fields-too-large", "Request Header Fields Too Large"  # RFC 6585, section 5
        if isinstance(error, LineTooLong):  # aiohttp does not say whether it was a header or the address
            detail = f"a header or the URL is longer than {error.args[1]} bytes; delete cookies of this site, or shorten the URL"
        elif isinstance(error, BadHttpMessage) and error.message == _TOO_MANY:
            detail = f"the request has more than {MAX_HEADERS} headers; send fewer"
        else:
            status, slug, title = 400, "bad-request", "Bad Request"
            detail = "the request is not valid HTTP; use HTTP/1.1, and http:// in place of https:// for this port"
        self.app[METRICS].http_requests[OTHER, UNMATCHED, str(status)].pending += 1
        headers = {**self._headers, REQUEST_ID_HEADER: own_id, "Connection": "close"}
        return problem(request, status, slug, title, detail, headers=headers)


class _Server(web.Server):
    """Makes our connections. Its handler and options are set when the application has started."""

    def __init__(self, refuse: Refuse, *, handler_cancellation: bool) -> None:
        super().__init__(_not_started, handler_cancellation=handler_cancellation)
        self.options: dict[str, Any] = {}
        self._refuse = refuse
        self._running_loop = asyncio.get_running_loop()
        self._open: set[asyncio.Transport] = set()

    def transports(self) -> list[asyncio.Transport]:
        """The connections that are open. aiohttp drops its own reference when it begins to close one."""
        return list(self._open)

    def opened(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)

    async def shutdown(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds for handlers, then cancel them. aiohttp alone would wait twice as long."""
        try:
            async with asyncio.timeout(timeout):
                await super().shutdown(None)
        except TimeoutError:
            await super().shutdown(CANCEL_SECONDS)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self._refuse, self, loop=self._running_loop, **self.options)


async def _not_started(request: web.BaseRequest) -> web.StreamResponse:
    raise RuntimeError("the application has not started")


class _Connection(web.RequestHandler):
    __slots__ = ("_lifeline", "_ours", "_refuse")

    def __init__(self, refuse: Refuse, server: _Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._refuse = refuse
        self._ours = server
        self._lifeline: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._lifeline = cast("asyncio.Transport", transport)
        self._ours.opened(self._lifeline)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._lifeline is not None:
            self._ours.closed(self._lifeline)
            self._lifeline = None

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log no traceback for a body that cannot be decoded: anybody can send one, and it has a line in the access log."""
        error = kw.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            log.debug("request_malformed", kind=type(error.__cause__ or error).__name__)
        else:
            super().log_exception(*args, **kw)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        response = self._refuse(request, exc)
        response.force_close()
        return response
