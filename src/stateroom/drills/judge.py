"""Judges a drill: compares what the service acknowledged to clients with what it says after the drill."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from ..plurals import counted
from .client import COOKIE, PASSWORD
from .ledger import IDENTITY_KINDS, NAMES, Answer, Ledger, RevivedSession, SignedIn, Write

GRACE_SECONDS = 5.0
"""After the drill a worker may accept sessions from their cookies alone for this long. Then they count as lost."""
ASKED_AT_ONCE = 8
SIGNED_IN_AT_ONCE = 2
"""The judge's sign-ins are not judged, so they may wait for each other, but not for longer than the service lets them."""


@dataclass(frozen=True, slots=True)
class LostWrite:
    """A value that was acknowledged and is not stored. `found`: the value that is stored, or None."""

    session: SignedIn
    key: str
    write: Write
    found: object


@dataclass(slots=True)
class Verdict:
    """The judgement of one drill."""

    requests: Counter[str] = field(default_factory=Counter)
    """How many, by kind."""
    refused: list[Answer] = field(default_factory=list)
    """Reads, sign-ins and sign-outs with a 5xx status or without a response."""
    slowest: dict[str, float] = field(default_factory=dict)
    """The longest wait in seconds, by kind (`Answer.waited`)."""
    degraded: int = 0
    """How many responses were degraded."""
    out: list[Answer] = field(default_factory=list)
    """Responses that told a signed-in user that nobody is signed in."""
    lost: list[SignedIn] = field(default_factory=list)
    """Sessions whose sign-in was acknowledged, and that at least one worker does not accept."""
    back: list[RevivedSession] = field(default_factory=list)
    """Sessions whose end was acknowledged, and that are accepted or stored again. One session may stand here several times."""
    writes: int = 0
    """How many values were acknowledged as stored."""
    lost_writes: list[LostWrite] = field(default_factory=list)
    excused: list[Answer] = field(default_factory=list)
    """Refused requests that the scenario allows to be refused."""
    others: list[Answer] = field(default_factory=list)
    """Responses that named another user than the client's own."""
    strange: list[SignedIn] = field(default_factory=list)
    """Sessions that a worker says belong to another user."""
    shared: dict[int, list[str]] = field(default_factory=dict)
    """User ids that were given to more than one user: the users' emails."""
    ghosts: list[SignedIn] = field(default_factory=list)
    """Sessions that a worker still accepts although the restored user database lacks the user."""

    def faults(self, *, slowest: float = 1.0, slowest_login: float | None = None, slowest_logout: float = 1.5) -> list[str]:
        """The faults, in words. A lost value is counted, but is not a fault.

        `slowest`, `slowest_login`, `slowest_logout`: the longest allowed waits, in seconds. `slowest_login` defaults to
        `slowest`.
        """
        said = []
        if self.refused:
            first = self.refused[0]
            status = first.status or "no response"
            said.append(
                f"{counted(len(self.refused), 'request')} refused, the first a {NAMES[first.kind]} with {status}: {first.words}"
            )
        if self.out:
            said.append(f"{counted(len(self.out), 'response')} told a signed-in user that nobody is signed in")
        if self.lost:
            degraded = sum(each.is_degraded for each in self.lost)
            said.append(f"{counted(len(self.lost), 'session')} lost, of which {degraded} began while Redis was unavailable")
        if self.back:
            back = len({id(each.session) for each in self.back})
            said.append(f"{counted(back, 'ended session')} accepted or stored again")
        if self.others or self.strange:
            named = f"{counted(len(self.others), 'response')} and {counted(len(self.strange), 'session')}"
            said.append(f"{named} named another user than the client's own")
        if self.shared:
            said.append(f"{counted(len(self.shared), 'user id')} given to several users")
        if self.ghosts:
            said.append(f"{counted(len(self.ghosts), 'session')} accepted whose user is missing in the restored user database")
        bounds = {"login": slowest if slowest_login is None else slowest_login, "logout": slowest_logout}
        for kind, seconds in self.slowest.items():
            bound = bounds.get(kind, slowest)
            if seconds > bound:
                said.append(f"a {NAMES[kind]} took {seconds:.2f} s, more than {bound:g} s")
        return said


def weigh(ledger: Ledger) -> Verdict:
    """The judgement from the ledger alone, without asking a worker."""
    verdict = Verdict(back=list(ledger.revived))
    for answer in ledger.answers:
        verdict.requests[answer.kind] += 1
        verdict.degraded += answer.is_degraded
        verdict.slowest[answer.kind] = max(verdict.slowest.get(answer.kind, 0.0), answer.waited)
        if answer.kind in IDENTITY_KINDS and answer.is_failed:
            verdict.refused.append(answer)
        if answer.is_out:
            verdict.out.append(answer)
        if answer.is_another:
            verdict.others.append(answer)
    owners: dict[int, list[str]] = {}
    for session in ledger.sessions:
        emails = owners.setdefault(session.user_id, [])
        if session.email not in emails:
            emails.append(session.email)
    verdict.shared = {user_id: emails for user_id, emails in owners.items() if user_id and len(emails) > 1}
    verdict.writes = sum(answer.kind == "write" and answer.status == 200 for answer in ledger.answers)
    return verdict


async def judge(ledger: Ledger, workers: Sequence[str], cookie: str = COOKIE) -> Verdict:
    """The judgement from the ledger and from asking every worker about every session.

    `workers`: their URLs. `cookie`: the name of the service's cookie.
    """
    verdict = weigh(ledger)
    live = [session for session in ledger.sessions if session.is_live]
    ended = [session for session in ledger.sessions if session.ended_at is not None]
    ghosts = [session for session in ledger.sessions if session.is_account_lost and session.logout_asked_at is None]
    connector = aiohttp.TCPConnector(limit=ASKED_AT_ONCE)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as http:
        for worker, url in enumerate(workers):
            until = time.monotonic() + GRACE_SECONDS
            found = await asyncio.gather(*(_settled_check(http, url, _cookie(cookie, session), until) for session in live))
            for session, state in zip(live, found, strict=True):
                if (state.get("authenticated") is not True or state.get("degraded")) and session not in verdict.lost:
                    verdict.lost.append(session)
                if _is_strange(session, state) and session not in verdict.strange:
                    verdict.strange.append(session)
            found = await asyncio.gather(*(_check(http, url, _cookie(cookie, session)) for session in [*ghosts, *ended]))
            for session, state in zip(ghosts, found, strict=False):
                if state.get("authenticated") is True and session not in verdict.ghosts:
                    verdict.ghosts.append(session)
            for session, state in zip(ended, found[len(ghosts) :], strict=True):
                if state.get("authenticated") is not False:
                    verdict.back.append(RevivedSession(session, worker, -1.0))
        for lost in await asyncio.gather(*(_lost_writes(http, workers[0], session, cookie) for session in live)):
            verdict.lost_writes += lost
        verdict.back += await _still_stored(http, workers[0], ended, cookie)
    return verdict


def _is_strange(session: SignedIn, state: Mapping[str, object]) -> bool:
    named = state.get("user_id") or 0
    return state.get("authenticated") is True and bool(session.user_id and named) and named != session.user_id


def _cookie(name: str, session: SignedIn) -> str:
    return f"{name}={session.cookie}"


async def _settled_check(http: aiohttp.ClientSession, url: str, cookie: str, until: float) -> dict[str, object]:
    """Ask until the response is not degraded. A worker that cannot reach Redis now does not know what is stored."""
    while (state := await _check(http, url, cookie)).get("degraded") and time.monotonic() < until:  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(GRACE_SECONDS / 50)
    return state


async def _check(http: aiohttp.ClientSession, url: str, cookie: str) -> dict[str, object]:
    async with http.get(f"{url}/api/auth/check", headers={"Cookie": cookie}) as response:
        content: dict[str, object] = await response.json(content_type=None)
        return content


async def _lost_writes(http: aiohttp.ClientSession, url: str, session: SignedIn, name: str) -> list[LostWrite]:
    if not session.writes:
        return []
    async with http.get(f"{url}/drill/data", headers={"Cookie": _cookie(name, session)}) as response:
        data = (await response.json(content_type=None)).get("data", {})
    # A later value than the last acknowledged one is no fault: it was stored, but its response was lost.
    return [
        LostWrite(session, key, write, data.get(key))
        for key, write in session.writes.items()
        if not isinstance(data.get(key), int) or data[key] < write.value
    ]


async def _still_stored(http: aiohttp.ClientSession, url: str, ended: Iterable[SignedIn], name: str) -> list[RevivedSession]:
    """Ended sessions in their user's list. Redis has them, even if no worker accepts them."""
    by_user: dict[str, dict[str, SignedIn]] = {}
    for session in ended:
        by_user.setdefault(session.email, {})[session.handle] = session
    turns = asyncio.Semaphore(SIGNED_IN_AT_ONCE)

    async def listed(email: str, handles: Mapping[str, SignedIn]) -> list[RevivedSession]:
        async with turns, http.post(f"{url}/api/auth/login", json={"email": email, "password": PASSWORD}) as response:
            if name not in response.cookies:  # The service refuses the sign-in, so its list cannot be read.
                return []
            cookie = response.cookies[name].value
        async with http.get(f"{url}/api/sessions", headers={"Cookie": f"{name}={cookie}"}) as response:
            if response.status == 404:  # This service has no list of sessions.
                return []
            found = (await response.json(content_type=None)).get("sessions", [])
        return [RevivedSession(handles[each["id"]], 0, -1.0) for each in found if each["id"] in handles]

    return [each for found in await asyncio.gather(*(listed(*of_user) for of_user in by_user.items())) for each in found]
