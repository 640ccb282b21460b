"""Decides whether the sender of a request may enter the application, and who it is for the application.

An error is the refusal. Anonymous visitors are told to sign in whatever the rules say, so that they cannot find out which
applications there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import check_auth, get_session, is_bearer
from ...accounts import ACCOUNTS
from ...accounts.access import ACCESS, Person
from ...errors import AccessDenied, ReauthenticationRequired, VerificationRequired
from .asked import is_complete
from .credentials import check_places
from .identity import NOBODY, check_spelling, identity_headers
from .navigation import is_visit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from ... import Session
    from ...accounts import Facts, User
    from ...accounts.access import Asked, Ruling

NOT_TOLD = (
    "the proxy did not tell the method, host and path of the request; "
    "the operator can check the proxy's configuration, TRUSTED_PROXIES and FORWARD_AUTH_PROXY"
)


async def admit(request: web.Request, asked: Asked) -> Mapping[str, str]:
    """The headers that name the sender to the application; empty ones if the rule is open and nobody is signed in.

    Raises `AccessDenied`, `BadInput`, `NotSignedIn`, `ReauthenticationRequired`, `VerificationRequired`, and `StoreUnavailable` or
    `DatabaseUnavailable` if the user cannot be known.
    """
    check_spelling(request)
    check_places(request, asked)
    access = request.app[ACCESS]
    if access.is_configured and not is_complete(asked):
        raise AccessDenied(NOT_TOLD)
    try:
        ruling = access.rule_for(asked)
    except AccessDenied:
        if access.is_configured:  # else even a sign-in would not help
            check_auth(request)
        raise
    session = get_session(request)
    if not session.is_signed_in:
        if ruling.is_open:
            return NOBODY
        check_auth(request)
    facts = await _facts(request, session)
    if facts is not None and (reason := _shut_out(request, facts.user)):
        if ruling.is_open:
            return NOBODY
        raise reason
    person = _person(session, facts)
    if not ruling.is_open:
        if not ruling.admits(person):
            raise AccessDenied
        _check_need(request, asked, ruling)
    return identity_headers(request, session, person, "" if facts is None else facts.user.name, ruling.audience)


def _shut_out(request: web.Request, user: User) -> type[AccessDenied | VerificationRequired] | None:
    """Why this user counts as nobody, whatever the rules say. To disable a user ends the sessions, but Redis may be away then."""
    if user.is_disabled:
        return AccessDenied
    return VerificationRequired if request.app[ACCOUNTS].is_restricted(user) else None


async def _facts(request: web.Request, session: Session) -> Facts | None:
    """What the user database has of the session's user. None if it has no such users. Raises `DatabaseUnavailable`."""
    user_id = session.user_id
    return await request.app[ACCOUNTS].facts(user_id) if isinstance(user_id, int) else None


def _person(session: Session, facts: Facts | None) -> Person:
    user_id = session.user_id
    assert user_id is not None
    return Person(user_id, "", frozenset()) if facts is None else facts.person


def _check_need(request: web.Request, asked: Asked, ruling: Ruling) -> None:
    """Raises `AccessDenied` for a need that cannot be met here, and `ReauthenticationRequired`, `StoreUnavailable`."""
    need = ruling.need
    if need.second_factor or need.device_bound:
        raise AccessDenied
    if need.fresh_seconds is None:
        return
    try:
        check_auth(request, fresh=need.fresh_seconds)
    except ReauthenticationRequired:
        if is_bearer(request) and is_visit(request, asked):  # the page that asks for the password would ask somebody else
            raise AccessDenied from None
        raise
