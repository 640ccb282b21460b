"""The session middleware: load, call the handler, save. `departure.py` gives the cookie when the headers leave.

A request without a session value sends nothing to Redis. Responses whose headers leave early (streams, WebSockets)
are committed when they are prepared, all others when the handler has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..backend.budget import BUDGET, Budget
from ..errors import StateroomError
from ..insides import of_aiohttp
from ..problems import problem_response
from ..sessions.model.session import record_of
from .commit import commit, needs_commit, save_in_stream
from .departure import Departure
from .doubled_cookies import DoubledCookieJudge
from .guards import SAFE_METHODS, OriginCheck
from .request_session import REQUEST_SESSION, Frontend, RequestSession
from .streams import Stream, break_off, stays_open

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

    from ..settings import Settings


def session_middleware(settings: Settings, frontend: Frontend, origin_check: OriginCheck) -> Middleware:
    """The middleware of one application."""
    jar, manager, client_info = frontend.jar, frontend.manager, frontend.client_info
    budget_seconds = settings.redis_read_timeout
    judge = DoubledCookieJudge(manager, jar)

    async def begin(request: web.Request, *, is_unsafe: bool) -> RequestSession:
        """Load the session that the request brings."""
        value, transport = jar.read_value(request)
        doubled = None
        if value is None:
            session = manager.anonymous()
        elif isinstance(value, list):
            session, doubled = await judge.load(value, lambda: client_info.of(request))
        else:
            session = await manager.load(
                value,
                lambda: client_info.of(request),
                may_copy=not is_unsafe,
                purpose=transport,
            )
        record = record_of(session)
        if transport == "bearer":
            record.keeps_nothing = True
        current = RequestSession(
            frontend, session, record, transport, record.token, reissue=record.must_reseal, doubled=doubled,
            clear=doubled is not None and doubled.must_clear,
        )  # fmt: skip
        writer: Any = request.writer
        writer.write_headers = Departure(request, writer.write_headers, current)
        return current

    @web.middleware
    async def with_session(request: web.Request, handler: Handler) -> web.StreamResponse:
        current: RequestSession | None = None
        budget = Budget(budget_seconds)
        try:
            is_unsafe = request.method not in SAFE_METHODS
            if is_unsafe:
                origin_check.check(request)
            BUDGET.set(budget)
            request[REQUEST_SESSION] = current = _resumed(request) or await begin(request, is_unsafe=is_unsafe)
            response = await handler(request)
            if current.sent is not None or needs_commit(current):
                await _complete(request, current, response)
        except web.HTTPException as raised:  # a redirect, for example, is a response like others
            return await _commit_raised(request, current, raised)
        except StateroomError as error:
            return await _refuse(request, current, error)
        except BaseException as error:
            _give_up(current)
            if current is not None and current.sent is not None and isinstance(error, Exception):
                await break_off(request, current.sent, error)
            raise
        finally:
            budget.is_over = True
            _end_stream(current)
        return response

    return with_session


def commit_on_prepare(origin_check: OriginCheck) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that commits responses that leave before their handler returns."""

    async def commit_prepared(request: web.Request, response: web.StreamResponse) -> None:
        current = request.get(REQUEST_SESSION)
        if current is None or current.is_saved:
            return
        try:
            if isinstance(response, web.WebSocketResponse):
                origin_check.check_origin(request)
            await commit(request, current, response)
            if stays_open(response):
                _open_stream(request, current, response)
        except Exception:
            if of_aiohttp.is_known():
                of_aiohttp.take_back(request, response)
            elif request.transport is not None:  # the refusal would be sent as the stream was to be: chunked, compressed
                request.transport.abort()
            raise
        current.begun = response

    return commit_prepared


def _resumed(request: web.Request) -> RequestSession | None:
    """The session of a request that an outer middleware hands on once more: it is what the first time has left."""
    departure: object = request.writer.write_headers
    if type(departure) is not Departure:
        return None
    departure.current.is_saved = False
    return departure.current


def _open_stream(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """From now on the response ends with its session. Raises `SessionEnded` if that has ended since it was loaded."""
    BUDGET.set(None)  # it may live for hours: each later step has a time-out of its own
    if current.record.ref.user:
        streams = current.frontend.streams
        streams.check_open(current.record)
        current.stream = Stream(request, response, current.record)
        streams.add(current.stream)


def _end_stream(current: RequestSession | None) -> None:
    """The handler is done."""
    if current is not None and current.stream is not None:
        current.frontend.streams.end(current.stream)


async def _complete(request: web.Request, current: RequestSession, response: web.StreamResponse | None) -> None:
    """The handler has returned, and something is left to do. Raises as `commit`."""
    if current.sent is not None:
        await save_in_stream(current)
    elif response is None:  # a handler without a return statement, of which aiohttp makes a 500
        _give_up(current)
    else:
        await commit(request, current, response)


def _give_up(current: RequestSession | None) -> None:
    """Nothing of what the handler wrote is saved with the response that somebody makes of a bug."""
    if current is not None:
        current.record.discard_changes()
        current.is_saved = True


async def _commit_raised(request: web.Request, current: RequestSession | None, raised: web.HTTPException) -> web.StreamResponse:
    """Save with a response that was raised, and raise it again. Returns the refusal if saving fails."""
    if current is not None and current.sent is not None:
        return await break_off(request, current.sent, raised)
    if current is not None and not current.is_saved:
        try:
            await commit(request, current, raised)
        except StateroomError as error:
            return await _refuse(request, current, error)
    raise raised


async def _refuse(request: web.Request, current: RequestSession | None, error: StateroomError) -> web.StreamResponse:
    """The response for an error. After the headers of another response it is that one, which ends here."""
    if current is None:
        return problem_response(error, request)
    if current.sent is not None:
        return await break_off(request, current.sent, error)
    _give_up(current)
    return problem_response(error, request)
