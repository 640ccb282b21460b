"""Holding the service to what it has acknowledged, when the dust has settled."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import aiohttp

from .ledger import IDENTITY_KINDS, Answer, Ghost, Ledger, SignedIn, Write
from .load import COOKIE, PASSWORD

DUST_SECONDS = 5.0
"""How long a session may still be known from its cookie alone before it counts as lost."""


@dataclass(frozen=True, slots=True)
class LostWrite:
    """A value that was acknowledged and is not there. `found`: what is."""

    session: SignedIn
    key: str
    write: Write
    found: object


@dataclass(slots=True)
class Verdict:
    """What clients saw, and what became of what they were told."""

    requests: Counter[str] = field(default_factory=Counter)
    refused: list[Answer] = field(default_factory=list)
    """Reads, sign-ins and sign-outs answered by 5xx, or not at all."""
    slowest: dict[str, float] = field(default_factory=dict)
    degraded: int = 0
    out: list[Answer] = field(default_factory=list)
    """Users told that they are signed out who never signed out."""
    lost: list[SignedIn] = field(default_factory=list)
    """Sessions that were acknowledged and are gone."""
    back: list[Ghost] = field(default_factory=list)
    """Sessions that were ended and are honoured, or stored again."""
    writes: int = 0
    lost_writes: list[LostWrite] = field(default_factory=list)

    def faults(self, *, slowest: float = 1.0, slowest_login: float | None = None, slowest_logout: float = 1.5) -> list[str]:
        """What is wrong, in words; nothing if all is well. Lost data is a figure, not a fault.

        Bounds are seconds; `slowest_login` is as `slowest` where not given.
        """
        said = []
        if self.refused:
            first = self.refused[0]
            said.append(f"{len(self.refused)} refused, the first a {first.kind} with {first.status}: {first.words}")
        if self.out:
            said.append(f"{len(self.out)} told that they are signed out")
        if self.lost:
            said.append(f"{len(self.lost)} sessions lost, {sum(each.is_degraded for each in self.lost)} of them degraded sign-ins")
        if self.back:
            said.append(f"{len({id(each.session) for each in self.back})} ended sessions back")
        bounds = {"login": slowest if slowest_login is None else slowest_login, "logout": slowest_logout}
        for kind, seconds in self.slowest.items():
            bound = bounds.get(kind, slowest)
            if seconds > bound:
                said.append(f"a {kind} took {seconds:.2f} s, more than {bound:g} s")
        return said


def weigh(ledger: Ledger) -> Verdict:
    """What the ledgers say by themselves."""
    verdict = Verdict(back=list(ledger.ghosts))
    for answer in ledger.answers:
        verdict.requests[answer.kind] += 1
        verdict.degraded += answer.is_degraded
        verdict.slowest[answer.kind] = max(verdict.slowest.get(answer.kind, 0.0), answer.waited)
        if answer.kind in IDENTITY_KINDS and answer.is_failed:
            verdict.refused.append(answer)
        if answer.is_out:
            verdict.out.append(answer)
    verdict.writes = sum(answer.kind == "write" and answer.status == 200 for answer in ledger.answers)
    return verdict


async def judge(ledger: Ledger, workers: Sequence[str], cookie: str = COOKIE) -> Verdict:
    """What the ledgers say, and what every worker says now of the sessions in them. `cookie`: the name of theirs."""
    verdict = weigh(ledger)
    live = [session for session in ledger.sessions if session.is_live]
    ended = [session for session in ledger.sessions if session.ended_at is not None]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for worker, url in enumerate(workers):
            for session in live:
                state = await _settled_check(http, url, f"{cookie}={session.cookie}")
                if (state.get("authenticated") is not True or state.get("degraded")) and session not in verdict.lost:
                    verdict.lost.append(session)
            for session in ended:
                if (await _check(http, url, f"{cookie}={session.cookie}")).get("authenticated") is not False:
                    verdict.back.append(Ghost(session, worker, -1.0))
        for session in live:
            verdict.lost_writes += await _lost_writes(http, workers[0], session, cookie)
        verdict.back += await _still_stored(http, workers[0], ended, cookie)
    return verdict


async def _settled_check(http: aiohttp.ClientSession, url: str, cookie: str) -> dict[str, object]:
    """Who somebody is once the store answers: a worker that finds it away at this moment says nothing of what is stored."""
    deadline = time.monotonic() + DUST_SECONDS
    while (state := await _check(http, url, cookie)).get("degraded") and time.monotonic() < deadline:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(DUST_SECONDS / 50)
    return state


async def _check(http: aiohttp.ClientSession, url: str, cookie: str) -> dict[str, object]:
    async with http.get(f"{url}/api/auth/check", headers={"Cookie": cookie}) as response:
        content: dict[str, object] = await response.json(content_type=None)
        return content


async def _lost_writes(http: aiohttp.ClientSession, url: str, session: SignedIn, name: str) -> list[LostWrite]:
    if not session.writes:
        return []
    async with http.get(f"{url}/drill/data", headers={"Cookie": f"{name}={session.cookie}"}) as response:
        data = (await response.json(content_type=None)).get("data", {})
    # A later value than the last acknowledged one is there where its answer was lost.
    return [
        LostWrite(session, key, write, data.get(key))
        for key, write in session.writes.items()
        if not isinstance(data.get(key), int) or data[key] < write.value
    ]


async def _still_stored(http: aiohttp.ClientSession, url: str, ended: Iterable[SignedIn], name: str) -> list[Ghost]:
    """Ended sessions that are in their user's list: in the store, though perhaps nobody honours them."""
    found = []
    by_user: dict[str, dict[str, SignedIn]] = {}
    for session in ended:
        by_user.setdefault(session.email, {})[session.handle] = session
    for email, handles in by_user.items():
        async with http.post(f"{url}/api/auth/login", json={"email": email, "password": PASSWORD}) as response:
            if name not in response.cookies:  # nobody can look: it refuses sign-ins
                continue
            cookie = response.cookies[name].value
        async with http.get(f"{url}/api/sessions", headers={"Cookie": f"{name}={cookie}"}) as response:
            if response.status == 404:  # not every service lists them
                return []
            listed = (await response.json(content_type=None)).get("sessions", [])
        found += [Ghost(handles[each["id"]], 0, -1.0) for each in listed if each["id"] in handles]
    return found
