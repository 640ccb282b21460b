"""The session middleware: load, call the handler, save. `departure.py` sets the cookie when the headers leave.

A request without a session value sends nothing to Redis. Responses whose headers leave early (streams, WebSockets)
are committed when they are prepared, all others when the handler has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

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

    from ..sessions.model.session import Session
    from ..settings import Settings
    from .doubled_cookies import DoubledCookies


def session_middleware(settings: Settings, frontend: Frontend, origin_check: OriginCheck) -> Middleware:
    """The middleware of one application."""
    jar, manager, client_info = frontend.jar, frontend.manager, frontend.client_info
    budget_seconds = settings.redis_read_timeout
    judge = DoubledCookieJudge(manager, jar)

    async def judged(request: web.Request, values: list[str] | None) -> tuple[Session, DoubledCookies | None]:
        """The session of a request that brings no value, or several."""
        if values is None:
            return manager.anonymous(), None
        return await judge.load(values, lambda: client_info.of(request))

    @web.middleware
    async def with_session(request: web.Request, handler: Handler) -> web.StreamResponse:
        current: RequestSession | None = None
        budget = Budget(budget_seconds)
        try:
            is_unsafe = request.method not in SAFE_METHODS
            if is_unsafe:
                origin_check.check(request)
            BUDGET.set(budget)
            writer: Any = request.writer
            if type(writer.write_headers) is Departure:  # an outer middleware hands the request on once more
                request[REQUEST_SESSION] = current = _resumed(writer.write_headers)
            else:
                value, transport = jar.read_value(request)
                doubled = None
                if isinstance(value, str):
                    session = await manager.load(
                        value, lambda: client_info.of(request), may_copy=not is_unsafe, purpose=transport
                    )  # fmt: skip
                else:
                    session, doubled = await judged(request, value)
                record = record_of(session)
                request[REQUEST_SESSION] = current = RequestSession(
                    frontend, session, record, transport, record.token, record.must_reseal
                )
                writer.write_headers = Departure(ref(writer), current)
                if doubled is not None or transport == "bearer":
                    _note(current, doubled)
            response = await handler(request)
            if current.sent is not None or needs_commit(current):
                await _complete(request, current, response)
        except web.HTTPException as raised:  # a redirect, for example, is a response like others
            return await _commit_raised(request, current, raised)
        except StateroomError as error:
            return await _refuse(request, current, error)
        except BaseException as error:
            await _fail(request, current, error)
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


def _resumed(departure: Departure) -> RequestSession:
    """The session of a request that an outer middleware passes on a second time, as the first pass left it."""
    departure.current.is_saved = False
    return departure.current


def _note(current: RequestSession, doubled: DoubledCookies | None) -> None:
    """Note whether the session came as a bearer, or with several cookies."""
    current.record.keeps_nothing = current.transport == "bearer"
    if doubled is not None:
        current.doubled, current.clear = doubled, doubled.must_clear


async def _fail(request: web.Request, current: RequestSession | None, error: BaseException) -> None:
    """The handler has a bug, or was cancelled."""
    _give_up(current)
    if current is not None and current.sent is not None and isinstance(error, Exception):
        await break_off(request, current.sent, error)


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
    """The handler has failed: nothing that it wrote is saved, whatever response follows."""
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
