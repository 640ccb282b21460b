"""Carries sessions over from aiohttp-session's Redis, so that the move signs nobody out.

If a request has a cookie of aiohttp-session and no session of ours, it gets the old session as one of ours, once. First the
new session is stored, then the old key becomes a redirect to it (old_sessions.py). If either Redis does not reply, the
request is 503, and the next request can try again without loss.

A cookie that opens no old session is ignored. Values that a session here cannot hold are left out, and a log line names them.
If all of a user's sessions have been ended since (a new password, signed out everywhere, disabled), the user signs in
again: the journal has ended the old sessions too.
"""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import Unavailable
from ..logs import get_logger, security_event
from .old_sessions import OldSession, OldSessions
from .request_session import FRONTEND, get_request_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp.typedefs import Handler

    from ..sessions.adoption import Adoption, Fitting
    from .request_session import RequestSession

log = get_logger(__name__)

MOST_KEYS, MOST_OF_A_KEY = 20, 100
"""How many keys a log line names, and how many characters of each."""


def carry_over(app: web.Application, *, redis_url: str, user_key: str, cookie_name: str = "AIOHTTP_SESSION") -> None:
    """Take over sessions of aiohttp-session's `RedisStorage`. Call it right after `setup(app)`.

    `redis_url`: the Redis that holds them. `user_key`: the key under which the application kept the signed-in user's id. A
    session without it is carried over as an anonymous visitor's. `cookie_name`: the name of the storage's cookie.
    Remove the call when the old sessions have expired. Raises `SettingsError`, and `RuntimeError` before `setup(app)`.
    """
    if FRONTEND not in app:
        raise RuntimeError("carry_over needs the application's sessions; call stateroom.setup(app) first")
    frontend = app[FRONTEND]
    old_sessions = OldSessions(frontend.manager.settings, redis_url=redis_url, cookie_name=cookie_name, id_key=user_key)
    carrier = _Carrier(old_sessions, frontend.adoption)

    read_value = _reader(cookie_name)

    @web.middleware
    async def carrying(request: web.Request, handler: Handler) -> web.StreamResponse:
        value = read_value(request)
        if value is not None and frontend.jar.read_value(request)[0] is None:
            await carrier.carry(value, get_request_session(request), frontend.client_info.of(request))
        return await handler(request)

    async def connection(app: web.Application) -> AsyncIterator[None]:
        yield
        await old_sessions.aclose()

    app.middlewares.append(carrying)
    app.cleanup_ctx.append(connection)


def _reader(cookie_name: str) -> Callable[[web.Request], str | None]:
    """Reads the old cookie's value as Python's `http.cookies` wrote it, which quotes what a `key_factory` may make.

    None if there is none, or if there are different ones: a foreign site may have planted the other.
    """
    pair = re.compile(rf"(?:^|;)[ \t]*{re.escape(cookie_name)}[ \t]*=([^;]*)")
    decode = SimpleCookie().value_decode

    def read(request: web.Request) -> str | None:
        values = {value.strip() for header in request.headers.getall("Cookie", ()) for value in pair.findall(header)}
        if len(values) > 1:
            log.warning("session_not_carried_over", reason=f"the request has different cookies {cookie_name}")
        return decode(values.pop())[0] if len(values) == 1 else None

    return read


class _Carrier:
    """Carries old sessions over into the sessions of one application."""

    def __init__(self, old_sessions: OldSessions, adoption: Adoption) -> None:
        self._old_sessions = old_sessions
        self._adoption = adoption

    async def carry(self, value: str, current: RequestSession, client_notes: Mapping[str, str]) -> None:
        """Make the request's session the old cookie's. It stays an anonymous visitor's if the cookie opens nothing."""
        try:
            old = await self._old_sessions.find(value)
            if old is None:
                return
            if old.carried_to is not None:
                secret = self._old_sessions.secret(value)
                await self._adoption.follow(current.session, secret, old.user_id, old.carried_to, client_notes)
            else:
                await self._adopt(value, old, current, client_notes)
        except Unavailable as fault:
            current.record.fail(fault)
            return
        current.reissue = current.record.is_stored

    async def _adopt(self, value: str, old: OldSession, current: RequestSession, client_notes: Mapping[str, str]) -> None:
        """Store it here, then replace it there. Raises `StoreUnavailable`, `DatabaseUnavailable`."""
        fitting = self._adoption.fit(old.data)
        if not fitting.data and old.user_id is None:
            log.warning("session_not_carried_over", reason="no value of it can be stored here", **_told(old, fitting))
            return
        secret = self._old_sessions.secret(value)
        adopted = await self._adoption.adopt(current.session, secret, old.user_id, fitting.data, client_notes)
        if adopted is not None:
            leads_here = await self._old_sessions.redirect(value, old, adopted)
            if not leads_here and adopted.is_new and not self._adoption.has_journal:
                # Another request has carried it over, and that session has ended since. No journal knows it.
                await self._adoption.withdraw(current.session, adopted)
                adopted = None
        if adopted is None:
            await self._old_sessions.delete(value)
            return
        if adopted.is_new:
            address = client_notes.get("ip_address", "")
            security_event("carried_over", session=adopted.ref.handle, user_id=old.user_id, address=address)
            if fitting.left_out or old.fault:
                log.warning("session_carried_over_in_part", session=adopted.ref.handle, **_told(old, fitting))


def _told(old: OldSession, fitting: Fitting) -> dict[str, str]:
    """The fields of a log line about left-out values: keys and reasons, never values."""
    left_out = list(fitting.left_out.items())
    told = {"left_out": "; ".join(f"{key[:MOST_OF_A_KEY]!a}: {why}" for key, why in left_out[:MOST_KEYS])} if left_out else {}
    if len(left_out) > MOST_KEYS:
        told["left_out"] += f"; and {len(left_out) - MOST_KEYS} more"
    return told | ({"user": f"nobody: {old.fault}"} if old.fault else {})
