"""Signing in, out and in again within a request: the steps of the manager, with the request's cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import NotFound, SignInRequired, StoreUnavailable
from ..telemetry.logging import security_event
from .keys import user_id_of
from .visit import get_visit

if TYPE_CHECKING:
    from aiohttp import web

    from .keys import UserId
    from .rows import Along
    from .session import Session
    from .transport import Transport
    from .visit import Visit


class AccessToken(NamedTuple):
    """`value` goes into `Authorization: Bearer`; `expires_in` is seconds."""

    value: str
    expires_in: int


async def sign_in(
    request: web.Request,
    user_id: UserId,
    *,
    remember: bool = False,
    transport: Transport = "cookie",
    generation: int | None = None,
) -> Session:
    """Sign this user in. The session gets a new id, the old one is dead at once; an anonymous visitor's data stays.

    While Redis is away the session is `degraded`: its cookie alone carries it, and it is stored when Redis is back.
    `remember`: the session outlives the browser and lives `SESSION_REMEMBER_MAX_AGE`.
    `transport="bearer"`: no cookie is set; hand out `session_token(request)` instead.
    `generation`: what `SessionManager.generation` said before the password was looked up. Who ends all of the user's
    sessions after that ends this one too: without it, a sign-in with the old password may outlive the change.
    Raises `SessionEnded` where that has happened, `StoreUnavailable`, `DatabaseUnavailable`; nobody is signed in then.
    `TypeError` for a user id of another type, None among them: what a look-up that found nobody gives.
    """
    if user_id is None:
        raise TypeError("a user id is a str or an int, not None")
    visit = get_visit(request)
    session = visit.session
    notes = visit.frontend.notes.of(request)
    await visit.manager.sign_in(session, user_id, metadata=notes, remember=remember, generation=generation)
    visit.transport = transport
    visit.reissue = True
    security_event("sign_in", session=session.handle, user_id=user_id, address=notes.get("ip_address", ""))
    return session


async def sign_out(request: web.Request) -> None:
    """End the session for good and have the client drop its cookie. An anonymous visitor's too."""
    visit = get_visit(request)
    session = visit.session
    at = session.ending_address
    if at is not None:
        await visit.manager.end(session, "logout")
        address = visit.frontend.proxies.kept_address(request)
        security_event("sign_out", session=at.handle, user_id=user_id_of(at.user), address=address)
    session.discard_changes()
    visit.reissue = False
    visit.clear = True


async def reauthenticate(request: web.Request) -> Session:
    """The user has just given the password again: a new id, and the time of sign-in is now.

    Raises `SignInRequired`, `NotByAccessToken`, `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    visit = get_visit(request)
    session = _signed_in(visit)
    await visit.manager.rotate(session, signs_in=True)
    visit.reissue = True
    security_event(
        "reauthenticated", session=session.handle, user_id=session.user_id, address=visit.frontend.proxies.kept_address(request)
    )
    return session


async def revoke_others(request: web.Request, *, reason: str = "revoked", along: Along | None = None) -> int | None:
    """End every other session of the user; this one gets a new id. How many ended; None while Redis can't tell.

    `along`: see `SessionManager.revoke_all`.
    Raises `SignInRequired`, `NotByAccessToken`, `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    visit = get_visit(request)
    session = _signed_in(visit)
    assert session.user_id is not None
    count = await visit.manager.revoke_all(session.user_id, keep=session, reason=reason, along=along)
    visit.reissue = True
    security_event(
        "revoke_others", session=session.handle, user_id=session.user_id, reason=reason, count=count,
        address=visit.frontend.proxies.kept_address(request),
    )  # fmt: skip
    return count


def session_token(request: web.Request) -> str:
    """The value that native clients send as `Authorization: Bearer`.

    Raises `ValueError` while nothing is stored, and where the request came with an access token.
    """
    visit = get_visit(request)
    return visit.manager.seal(visit.session)


def access_token(request: web.Request) -> AccessToken:
    """A JSON Web Token for the request's session: for services that verify those, and for rendering on a server.

    It is good for `JWT_MAX_AGE` at most, and for nothing once the session has ended. Keep it nowhere: mint one when it
    is needed. Raises `SignInRequired`, `NotFound` where `JWT_KEYS` is not set, `StoreUnavailable` while Redis cannot
    confirm the session: a token's age would make it good for longer.
    """
    visit = get_visit(request)
    tokens = visit.manager.tokens
    if tokens is None:
        raise NotFound("access tokens are off; JWT_KEYS turns them on")
    session = _signed_in(visit)
    if session.confirmed_ms:
        raise StoreUnavailable("a token is minted of a session that the store has confirmed")
    return AccessToken(*tokens.mint(session))


def is_bearer(request: web.Request) -> bool:
    """Whether the session came, or will go, as a bearer: then no cookie reaches the client."""
    return get_visit(request).transport == "bearer"


def client_address(request: web.Request) -> str | None:
    """The client's address, through trusted proxies only."""
    return get_visit(request).frontend.proxies.address(request)


def kept_address(request: web.Request) -> str:
    """The same as `SESSION_ADDRESS` lets it be kept: for sessions and logs."""
    return get_visit(request).frontend.proxies.kept_address(request)


def forwarded(request: web.Request, name: str) -> str:
    """A header that a proxy of `TRUSTED_PROXIES` has set; empty where none has."""
    return get_visit(request).frontend.proxies.forwarded(request, name)


def browser_origin(request: web.Request) -> str:
    """`scheme://host[:port]` that the client uses us under, through trusted proxies only."""
    return get_visit(request).frontend.proxies.origin(request)


def _signed_in(visit: Visit) -> Session:
    if not visit.session.is_signed_in:
        raise SignInRequired
    return visit.session
