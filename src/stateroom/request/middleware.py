"""The session middleware: load, call the handler, save, set the cookie.

A request without a session value sends nothing to Redis. Responses whose headers leave early (streams, WebSockets)
are committed when they are prepared, all others when the handler has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..backend.budget import BUDGET, Budget
from ..errors import SessionEnded, StateroomError
from ..problems import problem_response
from ..sessions.model.session import record_of
from . import cookie_fate
from .doubled_cookies import DoubledCookieJudge
from .guards import SAFE_METHODS, OriginCheck, is_background
from .request_session import REQUEST_SESSION, Frontend, RequestSession
from .streams import Stream, stays_open

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

    from ..settings import Settings


def session_middleware(settings: Settings, frontend: Frontend, origin_check: OriginCheck) -> Middleware:
    """The middleware of one application."""
    jar, manager, client_info = frontend.jar, frontend.manager, frontend.client_info
    budget_seconds = settings.redis_read_timeout
    judge = DoubledCookieJudge(manager, jar)

    @web.middleware
    async def with_session(request: web.Request, handler: Handler) -> web.StreamResponse:
        current: RequestSession | None = None
        try:
            is_unsafe = request.method not in SAFE_METHODS
            if is_unsafe:
                origin_check.check(request)
            value, transport = jar.read_value(request)
            doubled = None
            BUDGET.set(Budget(budget_seconds))
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
            request[REQUEST_SESSION] = current = RequestSession(
                frontend, session, record, transport, record.token, reissue=record.must_reseal
            )
            current.doubled = doubled
            response = await handler(request)
            if needs_commit(current, response):
                await commit(request, current, response)
        except web.HTTPException as answer:  # a redirect, for example, is a response like others
            refusal = await _commit_raised(current, answer, request)
            if refusal is not None:
                return refusal
            raise
        except StateroomError as error:
            return _refuse(request, error)
        except BaseException:
            if current is not None:
                current.is_committed = True  # nothing is saved with the response that somebody makes of a bug
            raise
        finally:
            if current is not None and current.stream is not None:
                frontend.streams.discard(current.stream)
        return response

    return with_session


def commit_on_prepare(origin_check: OriginCheck) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that commits responses that leave before their handler returns."""

    async def commit_prepared(request: web.Request, response: web.StreamResponse) -> None:
        current = request.get(REQUEST_SESSION)
        if current is None or current.is_committed:
            return
        if isinstance(response, web.WebSocketResponse):
            origin_check.check_origin(request)
        await commit(request, current, response)
        if stays_open(response):
            BUDGET.set(None)  # it may live for hours: each later step has a time-out of its own
            if current.record.ref.user:
                streams = current.frontend.streams
                streams.check_open(current.record)
                current.stream = Stream(request, response, current.record)
                streams.add(current.stream)

    return commit_prepared


def needs_commit(current: RequestSession, response: web.StreamResponse) -> bool:
    """Whether there is a change to save, a renewal due, a cookie to set or to clear. Otherwise the request is done."""
    if current.is_committed or response.prepared:
        return False
    record = current.record
    if current.clear or current.reissue or record.token is not current.came_with or current.doubled is not None:
        return True
    current.is_committed = not record.has_news(record.known_ms - current.frontend.renew_ms + 1)
    return not current.is_committed


async def commit(request: web.Request, current: RequestSession, response: web.StreamResponse) -> None:
    """Save what changed and put the cookie in the headers.

    Raises `SessionEnded` if the session ended meanwhile, `SessionTooLarge`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    current.is_committed = True
    record = current.record
    manager = current.frontend.manager
    renews = not is_background(request)
    if record.has_news(manager.renewal_horizon() if renews else 0) and record.data_fault is None and not current.clear:
        current.reissue |= await manager.save(current.session, renew=renews)
    if current.clear:
        cookie_fate.remove_trace(request, response)
    if current.clear or current.must_reissue or current.doubled is not None:
        put_cookie(current, response)


def put_cookie(current: RequestSession, response: web.StreamResponse, *, ended: bool = False) -> None:
    """Set or clear the cookie. A session that ended meanwhile gets none."""
    if current.transport != "cookie":
        return
    record, doubled = current.record, current.doubled
    everywhere = doubled is not None
    if doubled is not None:
        doubled.tell(response.headers)
    if current.clear or (doubled is not None and doubled.must_clear and (ended or not current.must_reissue)):
        current.frontend.jar.clear(response.headers, everywhere=everywhere)
    elif current.must_reissue and not ended:
        max_age = record.idle_ms // 1000 if record.is_persistent else None
        sealed = current.manager.seal(current.session, "cookie")
        current.frontend.jar.write(response.headers, sealed, max_age=max_age, everywhere=everywhere)


async def _commit_raised(
    current: RequestSession | None, answer: web.HTTPException, request: web.Request
) -> web.StreamResponse | None:
    """Save with a response that was raised. Returns the refusal if that fails."""
    if current is None or current.is_committed:
        return None
    try:
        await commit(request, current, answer)
    except StateroomError as error:
        return _refuse(request, error)
    return None


def _refuse(request: web.Request, error: StateroomError) -> web.StreamResponse:
    response = problem_response(error, request)
    current = request.get(REQUEST_SESSION)
    if current is not None:
        put_cookie(current, response, ended=isinstance(error, SessionEnded))
        current.is_committed = True
    return response
