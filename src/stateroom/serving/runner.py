"""The service's server on top of aiohttp's: fixed paths go to their handlers directly, and what is no HTTP is refused
as everything else is.

aiohttp answers a request that it cannot parse with the versions of Python and aiohttp and with the line that it did not
understand, and logs that line with a traceback. The line may be a cookie.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from .. import METRICS
from ..problems import REQUEST_ID, problem
from ..telemetry.requests import OTHER, REQUEST_ID_HEADER, UNMATCHED
from .fixed_routes import by_fixed_routes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    Refuse = Callable[[web.BaseRequest, BaseException | None], web.Response]

log = structlog.get_logger(__name__)

KEEPALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 30.0


class Runner(web.AppRunner):
    """Runs an application that has metrics. `headers`: what an answer carries that no handler gave."""

    def __init__(self, app: web.Application, headers: Mapping[str, str]) -> None:
        # A handler is never cut off half way: a sign-in is several steps that belong together.
        super().__init__(
            app, access_log=None, handler_cancellation=False, keepalive_timeout=KEEPALIVE_SECONDS, shutdown_timeout=SHUTDOWN_SECONDS
        )
        self._headers = headers

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            self._refuse,
            by_fixed_routes(self.app, made.request_handler),
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,  # noqa: SLF001 (there is no public way)
        )

    def _refuse(self, request: web.BaseRequest, error: BaseException | None) -> web.Response:
        """The answer to bytes that are no request. Nothing of them is repeated, or logged."""
        request[REQUEST_ID] = own_id = secrets.token_hex(16)
        log.info("request_malformed", kind=type(error).__name__, address=request.remote, request_id=own_id)
        self.app[METRICS].http_requests[OTHER, UNMATCHED, "400"].pending += 1
        detail = "the request is not valid HTTP"
        if isinstance(error, LineTooLong):
            detail = f"a line of the request is longer than {error.args[1]} bytes: shorten the address, or drop cookies"
        return problem(
            request, 400, "bad-request", "Bad Request", detail, headers={**self._headers, REQUEST_ID_HEADER: own_id}
        )  # fmt: skip


class _Server(web.Server):
    def __init__(self, refuse: Refuse, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refuse = refuse

    def __call__(self) -> web.RequestHandler:
        return _Connection(self._refuse, self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_refuse",)

    def __init__(self, refuse: Refuse, server: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._refuse = refuse

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        response = self._refuse(request, exc)
        response.force_close()
        return response
