"""A request's session and the fate of its cookie, and the functions by which handlers find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from ..sessions.manager import SessionManager
from ..sessions.model.record import SessionRecord
from ..sessions.model.session import Session
from .applications import why_no_session

if TYPE_CHECKING:
    from ..sessions.adoption import Adoption
    from .client_info import ClientInfo
    from .doubled_cookies import DoubledCookies
    from .proxies import Proxies
    from .streams import Stream, Streams
    from .transport import CookieJar, Transport

SESSIONS = web.AppKey("stateroom_sessions", SessionManager)
"""The application's session manager: `request.config_dict[stateroom.SESSIONS]`."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """The HTTP side of an application's sessions. `renew_ms`: the renew interval."""

    manager: SessionManager
    jar: CookieJar
    proxies: Proxies
    client_info: ClientInfo
    streams: Streams
    adoption: Adoption
    renew_ms: int


FRONTEND = web.AppKey("stateroom_frontend", Frontend)


class RequestSession(msgspec.Struct, eq=False):  # made in C: there is one for each request
    """One request's session.

    `record`: what the library knows of `session`. `came_with`: the token that the request brought.
    `reissue`: the client must get the session's value. `clear`: the client must drop the value that it has.
    `is_used`: the handler has asked for the session. `is_saved`: nothing more is saved with the response.
    `saved_at`: when the session was saved, by the monotonic clock.
    `must_renew`: a renewal waits until the response's status is known. `drops_cookie`: the session that the request's cookie
    opened goes on as a bearer's, and the client must drop the cookie. `begun`: the response that a handler has begun to send.
    `doubled`: what became of the cookies, if the request brought several of our name.
    `drops_trace`: with the cookie the client drops the trace of its sign-in (cookie_fate.py).
    `keeps_cookie`: the response neither sets the cookie nor clears it, unless the session has a new value.
    `sent`: the same response, once its headers have left. `stream`: the response, if it stays open.
    `handed_out`: the session of a sign-in by bearer after the headers had left. The request's own session is another one.
    """

    frontend: Frontend
    session: Session
    record: SessionRecord
    transport: Transport
    came_with: bytes | None
    reissue: bool = False
    clear: bool = False
    is_used: bool = False
    is_saved: bool = False
    saved_at: float = 0.0
    must_renew: bool = False
    drops_cookie: bool = False
    drops_trace: bool = False
    keeps_cookie: bool = False
    begun: web.StreamResponse | None = None
    doubled: DoubledCookies | None = None
    sent: web.StreamResponse | None = None
    stream: Stream | None = None
    handed_out: Session | None = None

    @property
    def owes_cookie(self) -> bool:
        """Whether the response must still give the client a value, or make it drop one."""
        return self.clear or self.reissue or self.drops_cookie or self.record.token is not self.came_with

    @property
    def must_reissue(self) -> bool:
        """Whether the client lacks the session's value: somebody asked for it, or the session was stored or rotated."""
        record = self.record
        return record.is_sealable and (self.reissue or record.token is not self.came_with)

    @property
    def manager(self) -> SessionManager:
        """The application's session manager."""
        return self.frontend.manager


REQUEST_SESSION = web.RequestKey("stateroom_request_session", RequestSession)


def get_request_session(request: web.BaseRequest) -> RequestSession:
    """The request's session with its cookie's fate. Raises as `get_session`."""
    try:
        return request[REQUEST_SESSION]
    except KeyError:
        raise RuntimeError(why_no_session(request, FRONTEND)) from None


def get_session(request: web.BaseRequest) -> Session:
    """The request's session, which the middleware has loaded.

    Raises `RuntimeError` if the application was not set up, or if a middleware calls it that runs before the sessions'.
    """
    try:
        current = request[REQUEST_SESSION]
    except KeyError:
        current = get_request_session(request)  # which says what is wrong
    current.is_used = True
    return current.session


def use_session(request: web.BaseRequest) -> RequestSession:
    """`get_request_session` for a response that depends on the session. Caches learn it from `Vary: Cookie`."""
    current = get_request_session(request)
    current.is_used = True
    return current
