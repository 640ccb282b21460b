"""The session middleware: load, hand to the handler, save, set the cookie.

A request without a session value sends nothing to Redis. Answers whose headers leave early (streams, WebSockets)
are committed when they are prepared; all others when the handler has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import SessionEnded, StateroomError
from ..problems import problem_response
from .guards import OriginCheck, is_background
from .proxies import is_forwarded
from .transport import read_bearer
from .visit import VISIT, Frontend, Visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware

    from ..settings import Settings
    from .visit import Transport


def session_middleware(settings: Settings, frontend: Frontend) -> Middleware:
    """The middleware of one application."""
    origin_check = OriginCheck(settings, frontend.proxies)
    jar, manager = frontend.jar, frontend.manager

    @web.middleware
    async def sessions(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit: Visit | None = None
        try:
            origin_check.check(request)
            visit = await arrive(request)
            try:
                response = await handler(request)
            except web.HTTPException as answer:  # a redirect, say, is an answer like others
                if not visit.is_committed:
                    await commit(visit, answer)
                raise
            if not visit.is_committed and not response.prepared:
                await commit(visit, response)
        except StateroomError as error:
            response = problem_response(error, request)
            if visit is not None:
                put_cookie(visit, response, ended=isinstance(error, SessionEnded))
        finally:
            if visit is not None:
                visit.is_committed = True  # nothing is saved with an answer that others make of an error
        return response

    async def arrive(request: web.Request) -> Visit:
        if jar.watches_for_proxies and is_forwarded(request):
            jar.saw_proxy()
        transport: Transport = "bearer"
        value = read_bearer(request)
        if value is None:
            transport = "cookie"
            value = jar.read(request)
        session = manager.anonymous() if value is None else await manager.load(value)
        visit = Visit(frontend, session, transport=transport, renews=not is_background(request))
        request[VISIT] = visit
        return visit

    return sessions


def commit_on_prepare() -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that commits what leaves before its handler returns."""

    async def commit_prepared(request: web.Request, response: web.StreamResponse) -> None:
        visit = request.get(VISIT)
        if visit is not None and not visit.is_committed:
            await commit(visit, response)

    return commit_prepared


async def commit(visit: Visit, response: web.StreamResponse) -> None:
    """Save what changed and put the cookie in the headers.

    Raises `SessionEnded` where the session ended meanwhile, `SessionTooLarge`, `StoreUnavailable`.
    """
    visit.is_committed = True
    session = visit.session
    if session.is_known and not visit.clear and await visit.manager.save(session, renew=visit.renews):
        visit.reissue = True
    put_cookie(visit, response)


def put_cookie(visit: Visit, response: web.StreamResponse, *, ended: bool = False) -> None:
    """Set or clear the cookie as the visit has it; a session that ended meanwhile gets none."""
    if visit.transport != "cookie":
        return
    session = visit.session
    if visit.clear:
        visit.frontend.jar.clear(response.headers)
    elif visit.reissue and not ended:
        max_age = session.idle_ms // 1000 if session.is_persistent else None
        visit.frontend.jar.write(response.headers, visit.manager.seal(session), max_age=max_age)
