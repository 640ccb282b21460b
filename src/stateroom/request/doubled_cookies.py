"""Decides which session counts if a request has several cookies of our name, and what happens to the others.

A browser sends several after a change of `COOKIE_DOMAIN` or `COOKIE_PATH`, and if another host of the same domain sets one. That
host may be an attacker's, and its cookie a live session of the attacker. A user who works in that session gives the attacker
all that they enter. A request does not say which host set a cookie. So cookies of different users, or of two live visitors,
sign nobody in. Their sessions are ended before the cookies are dropped, because we cannot drop every cookie, and a planted
cookie must not count later when it is the only one.

No other host can set a `__Host-` cookie. Several cookies of that name are a fault, not an attack, and none of them is tried.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from multidict import istr

from ..errors import Unavailable
from ..logs import get_logger, security_event
from ..sessions.model.identity import user_id_of
from ..sessions.model.session import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multidict import CIMultiDict

    from ..sessions.manager import SessionManager
    from ..sessions.model.identity import SessionRef
    from ..sessions.model.record import SessionRecord
    from ..sessions.model.session import Session
    from .transport import CookieJar

log = get_logger(__name__)

MOST_TRIED = 4
"""With more values nobody is signed in, because each value costs a read from Redis."""
LOG_SECONDS = 60.0
HEADER = istr("X-Session-Cookie")

Outcome = Literal["ambiguous", "doubled", "unknown"]
"""None of the cookies counts; one counts; the stores cannot say now."""


class DoubledCookies:
    """The outcome for one request's cookies of our name.

    `untried`: values that a sign-out still has to look at. `others`: the sessions that the tried values open, without the one
    that counts. `must_clear`: the response drops all of the cookies.
    """

    def __init__(
        self, outcome: Outcome, *, untried: Sequence[str] = (), others: Sequence[Session] = (), must_clear: bool = False
    ) -> None:
        self.outcome: Outcome = outcome
        self.must_clear = must_clear
        self._untried = untried
        self._others = others

    def tell(self, headers: CIMultiDict[str]) -> None:
        """Say in the response what happened."""
        if self.outcome != "unknown":
            headers[HEADER] = self.outcome

    async def end_others(self, manager: SessionManager) -> list[SessionRef]:
        """A sign-out ends every session that the request's cookies open. Returns those that it ended.

        Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        ended = []
        for session in [*self._others, *[await manager.load(value) for value in self._untried]]:
            ref = record_of(session).ending_ref
            await manager.end(session, "logout")
            if ref is not None:
                ended.append(ref)
        return ended


class DoubledCookieJudge:
    """Decides for one application which of several cookies counts, and logs that there were several."""

    def __init__(self, manager: SessionManager, jar: CookieJar) -> None:
        self._manager = manager
        self._jar = jar
        self._logged_at: dict[Outcome, float] = {}
        self._unlogged: dict[Outcome, int] = {}

    async def load(self, values: Sequence[str], client_notes: Callable[[], Mapping[str, str]]) -> tuple[Session, DoubledCookies]:
        """The session of a request that has these cookies of our name. This raises nothing. Attributes of the session may."""
        session, doubled = await self._judge(list(dict.fromkeys(values)), client_notes)
        self._log(doubled.outcome)
        return session, doubled

    async def _judge(self, values: Sequence[str], client_notes: Callable[[], Mapping[str, str]]) -> tuple[Session, DoubledCookies]:
        manager = self._manager
        if self._jar.is_prefixed or len(values) > MOST_TRIED:
            # Of too many, one that was not tried would count if it were left alone.
            return manager.anonymous(), DoubledCookies("ambiguous", untried=values, must_clear=self._jar.is_prefixed)
        # At once, so that they wait for a silent Redis together.
        found = await asyncio.gather(*(manager.load(value, client_notes, may_copy=False) for value in values))
        opened = [each for each in found if _opens(each)]
        if not opened:  # they are not ours to drop: a deployment of the parent domain may have the same name
            return manager.anonymous(), DoubledCookies("ambiguous")
        records = [record_of(each) for each in opened]
        users = {ref.user for each in records if (ref := _ref_of(each)) is not None and ref.user}
        visitors = {each.ref for each in records if each.token is not None and not each.ref.user}
        if len(users) > 1 or len(visitors) > 1 or (users and visitors):
            return manager.anonymous(), DoubledCookies("ambiguous", must_clear=await self._end(opened))
        if users:
            for record in records:
                if record.data_fault is not None and _ref_of(record) is None:  # another user's, or a visitor's that may be live
                    record.fail(record.fault or record.data_fault)
        best = max(opened, key=lambda each: _rank(record_of(each), bool(users)))
        counted = _ref_of(record_of(best))
        others = [each for each in opened if each is not best and _ref_of(record_of(each)) != counted]
        return best, DoubledCookies("unknown" if record_of(best).fault is not None else "doubled", others=others)

    async def _end(self, sessions: Sequence[Session]) -> bool:
        """End these sessions. False if that is impossible now."""
        for session in sessions:
            ref = record_of(session).ending_ref
            if ref is None:
                continue
            try:
                await self._manager.end(session, "revoked")
            except Unavailable:
                return False
            security_event("doubled_cookie_ended", session=ref.handle, user_id=user_id_of(ref.user))
        return True

    def _log(self, outcome: Outcome) -> None:
        """One line in a minute for each outcome, with the number of requests since the last."""
        count, now = self._unlogged.get(outcome, 0) + 1, time.monotonic()
        last = self._logged_at.get(outcome)
        if last is not None and now - last < LOG_SECONDS:
            self._unlogged[outcome] = count
            return
        self._logged_at[outcome], self._unlogged[outcome] = now, 0
        log.warning("session_cookie_doubled", cookie=self._jar.name, outcome=outcome, requests=count, fix=advice(self._jar.name))


def advice(name: str) -> str:
    """What the operator can do against several cookies of this name."""
    return (
        f"browsers keep several cookies named {name}; "
        "if COOKIE_DOMAIN or COOKIE_PATH changed, set COOKIE_FORMER to the old domain and path, "
        "for example example.com/app; if another site of the domain uses the name too, set another SESSION_NAME"
    )


def _opens(session: Session) -> bool:
    """Whether the value was one of ours, whatever has become of its session."""
    record = record_of(session)
    return record.token is not None or record.gone is not None or record.data_fault is not None


def _ref_of(record: SessionRecord) -> SessionRef | None:
    """Which session it is; None while that cannot be known. Of a visitor's session it cannot while Redis is unavailable."""
    return record.ending_ref or record.gone


def _rank(record: SessionRecord, has_user: bool) -> tuple[bool, bool, bool, int]:
    """Which session counts, if they do not belong to different users. The highest rank counts.

    First a session that cannot be known, because it may be another user's. Then the user's, then a live one, then the latest.
    """
    is_open = record.fault is not None and record.unknown_ref is None
    is_users = has_user and (ref := _ref_of(record)) is not None and bool(ref.user)
    return is_open, is_users, record.token is not None, record.auth_ms or record.created_ms
