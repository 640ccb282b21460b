"""The session middleware: load, hand to the handler, save, set the cookie.

A request without a session value sends nothing to Redis. Answers whose headers leave early (streams, WebSockets)
are committed when they are prepared; all others when the handler has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..backend.budget import BUDGET, Budget
from ..errors import SessionEnded, StateroomError
from ..problems import problem_response
from .guards import SAFE_METHODS, OriginCheck, is_background
from .streams import Stream, stays_open
from .visit import VISIT, Frontend, Visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

    from ..settings import Settings


def session_middleware(settings: Settings, frontend: Frontend, origin_check: OriginCheck) -> Middleware:
    """The middleware of one application."""
    jar, manager, notes = frontend.jar, frontend.manager, frontend.notes
    patience = settings.redis_read_timeout

    @web.middleware
    async def sessions(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit: Visit | None = None
        try:
            changes = request.method not in SAFE_METHODS
            if changes:
                origin_check.check(request)
            value, transport = jar.read_value(request)
            BUDGET.set(Budget(patience))
            session, filling = manager.begin(value, lambda: notes.of(request), fresh=changes, is_bearer=transport == "bearer")
            if filling is not None:
                await filling
            request[VISIT] = visit = Visit(frontend, session, transport, session.token)
            response = await handler(request)
            if needs_commit(visit, response):
                await commit(request, visit, response)
        except web.HTTPException as answer:  # a redirect, say, is an answer like others
            refusal = await _commit_answer(visit, answer, request)
            if refusal is not None:
                return refusal
            raise
        except StateroomError as error:
            return _refuse(request, error)
        except BaseException:
            if visit is not None:
                visit.is_committed = True  # nothing is saved with the answer that somebody makes of a bug
            raise
        finally:
            if visit is not None and visit.stream is not None:
                frontend.streams.discard(visit.stream)
        return response

    return sessions


def commit_on_prepare(origin_check: OriginCheck) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that commits what leaves before its handler returns."""

    async def commit_prepared(request: web.Request, response: web.StreamResponse) -> None:
        visit = request.get(VISIT)
        if visit is None or visit.is_committed:
            return
        if isinstance(response, web.WebSocketResponse):
            origin_check.check_origin(request)
        await commit(request, visit, response)
        if stays_open(response):
            BUDGET.set(None)  # it may live for hours: each later step has a time-out of its own
            if visit.session.user:
                visit.frontend.streams.check_open(visit.session)
                visit.stream = Stream(request, response, visit.session)
                visit.frontend.streams.add(visit.stream)

    return commit_prepared


def needs_commit(visit: Visit, response: web.StreamResponse) -> bool:
    """Whether there is a change to save, a renewal due, a cookie to set or to clear; where there is none, that is all."""
    if visit.is_committed or response.prepared:
        return False
    session = visit.session
    if visit.clear or visit.reissue or session.token is not visit.came_with:
        return True
    visit.is_committed = not session.has_news(session.known_ms - visit.frontend.manager.renew_ms + 1)
    return not visit.is_committed


async def commit(request: web.Request, visit: Visit, response: web.StreamResponse) -> None:
    """Save what changed and put the cookie in the headers.

    Raises `SessionEnded` where the session ended meanwhile, `SessionTooLarge`, `StoreUnavailable`.
    """
    visit.is_committed = True
    session = visit.session
    manager = visit.frontend.manager
    renews = not is_background(request)
    if session.has_news(manager.renewal_horizon() if renews else 0) and session.is_writable and not visit.clear:
        visit.reissue |= await manager.save(session, renew=renews)
    if visit.clear or visit.must_reissue:
        put_cookie(visit, response)


def put_cookie(visit: Visit, response: web.StreamResponse, *, ended: bool = False) -> None:
    """Set or clear the cookie as the visit has it; a session that ended meanwhile gets none."""
    if visit.transport != "cookie":
        return
    session = visit.session
    if visit.clear:
        visit.frontend.jar.clear(response.headers)
    elif visit.must_reissue and not ended:
        max_age = session.idle_ms // 1000 if session.is_persistent else None
        visit.frontend.jar.write(response.headers, visit.manager.seal(session), max_age=max_age)


async def _commit_answer(visit: Visit | None, answer: web.HTTPException, request: web.Request) -> web.StreamResponse | None:
    """Save with an answer that was raised; the refusal, where that fails."""
    if visit is None or visit.is_committed:
        return None
    try:
        await commit(request, visit, answer)
    except StateroomError as error:
        return _refuse(request, error)
    return None


def _refuse(request: web.Request, error: StateroomError) -> web.StreamResponse:
    response = problem_response(error, request)
    visit = request.get(VISIT)
    if visit is not None:
        put_cookie(visit, response, ended=isinstance(error, SessionEnded))
        visit.is_committed = True
    return response
