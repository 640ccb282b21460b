"""Gives sessions to every application that is served, and writes to the session in each request."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

import stateroom

from . import sessions

_give = sessions.give_sessions


@web.middleware
async def _writing(request: web.Request, handler: Handler) -> web.StreamResponse:
    session = stateroom.get_session(request)
    session["requests"] = session.get("requests", 0) + 1
    return await handler(request)


def _give_used(app: web.Application) -> None:
    is_new = stateroom.SESSIONS not in app and not app.frozen
    _give(app)
    if is_new:
        app.middlewares.insert(1, _writing)


sessions.give_sessions = _give_used
pytest_collection_finish = sessions.pytest_collection_finish
pytest_runtest_logfinish = sessions.pytest_runtest_logfinish
pytest_sessionfinish = sessions.pytest_sessionfinish
