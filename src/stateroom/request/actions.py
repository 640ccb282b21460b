"""Signing in, out and in again within a request: the manager's steps, together with the request's cookie."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from ..errors import HeadersSent, NotFound, SessionEnded, SignInRequired, StoreUnavailable
from ..logs import security_event
from ..sessions.model.identity import user_id_of
from ..sessions.model.session import check_can_rotate
from ..settings.values import TRACE_COOKIE
from .client import kept_address
from .request_session import use_session
from .whole import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from ..sessions.model.identity import UserId
    from ..sessions.model.rows import InTransaction
    from ..sessions.model.session import Session
    from .request_session import RequestSession
    from .transport import Transport


class AccessToken(NamedTuple):
    """`value` goes into `Authorization: Bearer`; `expires_in` is seconds."""

    value: str
    expires_in: int


async def sign_in(
    request: web.Request,
    user_id: UserId,
    *,
    remember: bool = False,
    max_age: float | None = None,
    transport: Transport = "cookie",
    generation: int | None = None,
    epoch: str | None = None,
    degraded: bool = True,
) -> Session:
    """Sign this user in. The session gets a new id, and the old id is invalid at once. An anonymous visitor's data stays.

    While Redis is unavailable the session is `degraded`: it lives in its cookie until a later request, when Redis can store it.
    `remember`: the session outlives the browser and lives `SESSION_REMEMBER_MAX_AGE`.
    `max_age`: the session lives at most this number of seconds, and no longer than the settings allow.
    `transport="bearer"`: no cookie is set; hand out `bearer_value(request)` instead. This also works after the headers of
    the response have left. The request then keeps its own session.
    `generation`: what `SessionManager.generation` returned before the password's hash was read. If all of the user's
    sessions are ended after that, this raises `SessionEnded`. Without it, a sign-in with the old password may outlive the
    change of password. `epoch`: the deployment's, if it was read together with the generation.
    `degraded=False`: if Redis cannot store the session, raise `StoreUnavailable`.
    Raises `SessionEnded`, `HeadersSent`, `StoreUnavailable`, `DatabaseUnavailable`. `TypeError` for a user id of another type,
    such as the None of a failed search, and for a `max_age` of another type. `ValueError` for an invalid user id and a
    `max_age` below 1. If it raises, the session is what it was before.
    """
    if user_id is None:
        raise TypeError("a user id is a str or an int, not None; call sign_in only if a user was found")
    current = use_session(request)
    session, is_late = current.session, current.record.headers_sent
    if is_late:
        if transport == "cookie":
            raise HeadersSent("sign_in()")
        session = current.manager.anonymous()
    noted = current.frontend.client_info.of(request)
    signing_in = current.manager.sign_in(
        session,
        user_id,
        metadata=noted,
        remember=remember,
        max_age=max_age,
        generation=generation,
        epoch=epoch,
        degraded=degraded,
    )
    await whole(signing_in)
    if is_late:
        current.handed_out = session
    else:
        current.drops_cookie = transport == "bearer" and current.transport == "cookie" and current.came_with is not None
        current.transport, current.reissue = transport, True
        current.record.keeps_nothing = transport == "bearer"
    security_event("sign_in", session=session.id, user_id=user_id, address=noted.get("ip_address", ""))
    return session


async def sign_out(request: web.Request) -> None:
    """End the session for good and have the client drop its cookie. It may be an anonymous visitor's session.

    Afterwards the request has a new visitor's session, which keeps messages, data and a sign-in that follow. A client that
    has a bearer cannot keep a visitor's session: its data is dropped.
    Raises `StoreUnavailable`, `DatabaseUnavailable`.
    """
    current = use_session(request)
    ref, fault, unavailable = (
        current.record.ending_ref or current.record.rotated_ref,
        current.record.fault,
        current.record.data_fault,
    )
    if ref is None and fault is not None:  # nothing is known of the session, not even which one it is
        raise fault
    if current.doubled is not None:
        for each in await current.doubled.end_others(current.manager):
            security_event("sign_out", session=each.handle, user_id=user_id_of(each.user), address=kept_address(request))
    if ref is not None:
        await whole(current.manager.end(current.session, "logout"))
        security_event("sign_out", session=ref.handle, user_id=user_id_of(ref.user), address=kept_address(request))
    current.record.forget()
    if unavailable is not None:  # a new visitor's data could not be stored either
        current.record.degrade(unavailable)
    current.reissue = False
    current.clear = True
    current.drops_trace = TRACE_COOKIE in request.cookies


async def reauthenticate(request: web.Request) -> Session:
    """Give the session a new id, and set `auth_time` to now. Call it when the user has just given the password again.

    Raises `SignInRequired`, `NotByAccessToken`, `HeadersSent`, `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    current, user_id = _signed_in(request)
    _check_can_answer(current, "reauthenticate()")
    with _keeping_its_stream(current):
        await whole(current.manager.rotate(current.session, signs_in=True))
    current.reissue = True
    security_event("reauthenticated", session=current.record.ref.handle, user_id=user_id, address=kept_address(request))
    return current.session


async def revoke_others(
    request: web.Request, *, reason: str = "revoked", in_transaction: InTransaction | None = None
) -> int | None:
    """End every other session of the user; this one gets a new id.

    Returns the number of ended sessions. While Redis cannot tell the number it returns None; they have ended all the same.
    `reason`: what the other clients get as `Session.ended`; at most 16 characters. `in_transaction`: see
    `SessionManager.revoke_all`.
    Raises `SignInRequired`, `NotByAccessToken`, `HeadersSent`, `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    current, user_id = _signed_in(request)
    _check_can_answer(current, "revoke_others()")
    with _keeping_its_stream(current):
        count = await whole(current.manager.revoke_all(user_id, keep=current.session, reason=reason, in_transaction=in_transaction))
    current.reissue = True
    security_event(
        "revoke_others", session=current.record.ref.handle, user_id=user_id, reason=reason, count=count,
        address=kept_address(request),
    )  # fmt: skip
    return count


def bearer_value(request: web.Request) -> str:
    """The value that native clients send as `Authorization: Bearer`.

    Raises `ValueError` while nothing is stored, and if the request came with an access token.
    """
    current = use_session(request)
    return current.manager.seal(current.handed_out or current.session, "bearer")


def access_token(request: web.Request) -> AccessToken:
    """A JSON Web Token for the request's session: for services that verify those, and for rendering on a server.

    It is valid for at most `JWT_MAX_AGE`, and invalid once the session has ended. Do not store it: call this when you need
    one. Raises `SignInRequired`, `SessionEnded`, `NotFound` if tokens are off (`JWT_KEYS`), `NotByAccessToken` if an access
    token opened the session. Raises `StoreUnavailable` while Redis cannot confirm the session, because the token would extend
    the time for which the session is trusted.
    """
    current = use_session(request)
    if not current.manager.has_access_tokens:
        raise NotFound("access tokens are disabled; set JWT_KEYS to enable them")
    current, _ = _signed_in(request)
    check_can_rotate(current.session)
    if current.record.degraded or current.record.confirmed_ms:
        raise StoreUnavailable("an access token is made only for a session that Redis has confirmed")
    return AccessToken(*current.manager.mint_access_token(current.session))


def is_bearer(request: web.Request) -> bool:
    """Whether the session came, or will go, as a bearer: then no cookie reaches the client."""
    return use_session(request).transport == "bearer"


def _signed_in(request: web.Request) -> tuple[RequestSession, UserId]:
    current = use_session(request)
    user_id = current.session.user_id
    if user_id is None:
        raise SignInRequired if current.session.ended is None else SessionEnded(current.session.ended)
    return current, user_id


@contextlib.contextmanager
def _keeping_its_stream(current: RequestSession) -> Iterator[None]:
    """The request's own WebSocket or stream goes on under the new id: the old one's end does not close it."""
    if current.stream is None:
        yield
        return
    streams = current.frontend.streams
    streams.let_go(current.stream)
    try:
        yield
    finally:
        streams.take_up(current.stream, current.record)


def _check_can_answer(current: RequestSession, step: str) -> None:
    """Raises `HeadersSent` if the new value that the step makes could not reach the client. A bearer's can, in the stream."""
    if current.record.headers_sent and current.transport == "cookie":
        raise HeadersSent(step)
