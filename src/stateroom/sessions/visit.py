"""A request's session and what is to become of its cookie; where handlers find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from .manager import SessionManager
from .session import Session

if TYPE_CHECKING:
    from .metadata import ClientNotes
    from .proxies import Proxies
    from .streams import Stream, Streams
    from .transport import CookieJar, Transport

SESSIONS = web.AppKey("stateroom_sessions", SessionManager)
"""The application's session manager: `request.config_dict[stateroom.SESSIONS]`."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """What of an application's sessions faces HTTP."""

    manager: SessionManager
    jar: CookieJar
    proxies: Proxies
    notes: ClientNotes
    streams: Streams


class Visit(msgspec.Struct, eq=False):  # made in C: there is one for each request
    """One request's session. `reissue`: its value must reach the client; `clear`: the client must drop it.

    `stream`: the response, where it stays open. `came_with`: the token that the request brought.
    """

    frontend: Frontend
    session: Session
    transport: Transport
    came_with: bytes | None
    reissue: bool = False
    clear: bool = False
    is_committed: bool = False
    stream: Stream | None = None

    @property
    def must_reissue(self) -> bool:
        """Whether the client lacks the session's value: asked for, or the session was stored or rotated meanwhile."""
        session = self.session
        return session.is_sealable and (self.reissue or session.token is not self.came_with)

    @property
    def manager(self) -> SessionManager:
        return self.frontend.manager


VISIT = web.RequestKey("stateroom_visit", Visit)


def get_visit(request: web.BaseRequest) -> Visit:
    """The request's visit. Raises `RuntimeError` where the application was not set up."""
    try:
        return request[VISIT]
    except KeyError:
        raise RuntimeError("there are no sessions here: call stateroom.setup(app) before the application starts") from None


def get_session(request: web.BaseRequest) -> Session:
    """The request's session, loaded by the middleware."""
    try:
        return request[VISIT].session
    except KeyError:
        return get_visit(request).session  # which says what is wrong
