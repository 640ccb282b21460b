"""Decides whether the sender of a request may enter the application, and who it is for the application.

An error is the refusal. Anonymous visitors are told to sign in whatever the rules say, so that they cannot find out which
applications there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ... import SESSIONS, check_auth, get_session, is_bearer
from ...accounts import ACCESS, ACCOUNTS, ASSERTIONS
from ...accounts.access import NO_NEED, Person
from ...errors import AccessDenied, ReauthenticationRequired, SignInRequired, VerificationRequired
from .asked import AskedReader
from .credentials import Credentials
from .identity import NOBODY_LINES, identity_lines
from .misleading import RequestCheck
from .navigation import is_visit

if TYPE_CHECKING:
    from ...accounts import Facts
    from ...accounts.access import Asked, Ruling

NOT_TOLD = (
    "the proxy did not tell the method, host and path of the request; "
    "the operator can check the proxy's configuration, TRUSTED_PROXIES and FORWARD_AUTH_PROXY"
)


class Doorkeeper:
    """Answers the questions of proxies for one application, whose parts it keeps: to look them up takes time at each request.

    `reader`: reads what is asked. `credentials`: finds ours in a request. `request_check`: refuses requests that would mislead.
    """

    def __init__(self, app: web.Application) -> None:
        """Call it when the application has all its parts."""
        sessions = app[SESSIONS]
        self.reader = AskedReader(app)
        self.credentials = Credentials(sessions)
        self.request_check = RequestCheck(self.credentials)
        self._access, self._accounts, self._assertions = app[ACCESS], app[ACCOUNTS], app[ASSERTIONS]
        self._has_assertions = sessions.has_access_tokens  # both have the keys of JWT_KEYS

    async def admit(self, request: web.Request, asked: Asked) -> str:
        """The header lines that name the sender to the application; empty headers if the rule is open and nobody is signed in.

        Raises `AccessDenied`, `BadInput`, `NotSignedIn`, `ReauthenticationRequired`, `VerificationRequired`, and
        `StoreUnavailable` or `DatabaseUnavailable` if the user cannot be known.
        """
        self.request_check.check(request.headers, asked.path)
        ruling = self._ruling(request, asked)
        session = get_session(request)
        allow, user_id = ruling.allow, session.user_id
        if user_id is None:
            if allow.anyone:
                return NOBODY_LINES
            check_auth(request)
            raise SignInRequired
        if isinstance(user_id, int):
            facts = self._accounts.recent_facts(user_id) or await self._accounts.facts(user_id)
            if facts.is_nobody:
                if allow.anyone:
                    return NOBODY_LINES
                facts = await self._facts_after_verification(user_id, facts)
            person, name = facts.person, facts.user.name
        else:  # the user database has no such users
            person, name = Person(user_id, "", frozenset()), ""
        if not allow.anyone:
            if not allow.admits(person):
                raise AccessDenied
            if ruling.need is not NO_NEED:
                _check_need(request, asked, ruling)
        assertion = self._assertions.mint(session, ruling.audience, person, name=name) if self._has_assertions else ""
        return identity_lines(person, name, assertion, degraded=session.degraded)

    async def _facts_after_verification(self, user_id: int, facts: Facts) -> Facts:
        """The facts of a user who has verified in another process since these were read, and would be sent to and fro.

        Raises `AccessDenied` or `VerificationRequired` for a user who is still nobody, and `DatabaseUnavailable`.
        """
        if not facts.user.is_disabled:
            if await self._accounts.must_still_verify(user_id):
                raise VerificationRequired
            facts = await self._accounts.facts(user_id)
        if facts.is_nobody:
            raise AccessDenied
        return facts

    def _ruling(self, request: web.Request, asked: Asked) -> Ruling:
        """The ruling of the rules. Raises `AccessDenied`, `BadInput`, and as `check_auth` if nobody is signed in."""
        access = self._access
        if access.is_configured and not (asked.method and asked.origin and asked.path):
            raise AccessDenied(NOT_TOLD)
        try:
            return access.rule_for(asked)
        except AccessDenied:
            if access.is_configured:  # else even a sign-in would not help
                check_auth(request)
            raise


DOORKEEPER = web.AppKey("stateroom_doorkeeper", Doorkeeper)


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
