"""One client of a drilled service: a browser with an account, over HTTP. It writes each answer to its ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self

import aiohttp
from yarl import URL

from .ledger import Answer, Kind, Ledger, SignedIn, Write
from .standstill import Standstills

PASSWORD = "correct horse battery"  # noqa: S105 (of the drill's own accounts)
COOKIE = "session_id"
PATIENCE_SECONDS = 15.0
"""A client gives up on an answer after this."""
PROFILE_EVERY = 5
"""Every so many reads ask for the profile, which also loads the user from the database."""
PARALLEL_WRITES = 4


class Client:
    """One browser with one account. It asks one worker, and keeps its connections open.

    `session`: the session that it is signed in to; None after a logout was sent.
    """

    def __init__(
        self, workers: Sequence[str], worker: int, email: str, cookie: str = COOKIE, standstills: Standstills | None = None
    ) -> None:
        self.ledger = Ledger()
        self.email = email
        self.cookie = cookie
        self.worker = worker
        self.session: SignedIn | None = None
        self._url = URL(workers[worker])
        self._reads = 0
        self._standstills = standstills or Standstills()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # Browsers send a Secure cookie on loopback without TLS.
        self._jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=self._url.origin())
        connector = aiohttp.TCPConnector(limit=PARALLEL_WRITES)
        self._http = aiohttp.ClientSession(
            cookie_jar=self._jar, connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def register(self) -> None:
        """Create the account. This signs in too."""
        body = {"email": self.email, "password": PASSWORD, "name": "Drill"}
        await self._signed_in(await self._call("login", "POST", "/api/auth/register", body))

    async def login(self) -> bool:
        """Sign in. An earlier session must have ended. True if it succeeded."""
        answer = await self._call("login", "POST", "/api/auth/login", {"email": self.email, "password": PASSWORD})
        return await self._signed_in(answer)

    async def logout(self) -> bool:
        """Sign out, and forget the cookie. True if the service acknowledged it."""
        session = self.session
        assert session is not None, "nobody is signed in"
        session.logout_asked_at = time.monotonic()
        self.session = None
        answer, _ = await self._call("logout", "POST", "/api/auth/logout")
        if answer.status == 200:
            session.ended_at = time.monotonic()
        self._jar.clear()
        return answer.status == 200

    async def reauthenticate(self) -> bool:
        """Send the password again. The session gets a new id. True if it succeeded."""
        async with self._turn:
            answer, _ = await self._call("login", "POST", "/api/auth/reauthenticate", {"password": PASSWORD})
        return answer.status == 200

    async def read(self) -> Answer:
        """Ask who is signed in."""
        self._reads += 1
        path = "/api/profile" if self._reads % PROFILE_EVERY == 0 else "/api/auth/check"
        async with self._turn:  # A request that waits for a new cookie goes first: the next one needs it.
            answer, _ = await self._call("read", "GET", path)
        return answer

    async def write(self, key: str, value: int) -> bool:
        """Store a number in the session. True if the service acknowledged it."""
        session = self.session
        answer, _ = await self._call("write", "PUT", f"/drill/data/{key}", value)
        if answer.status == 200 and session is not None:
            session.writes[key] = Write(value, time.monotonic())
        return answer.status == 200

    async def _signed_in(self, outcome: tuple[Answer, Any]) -> bool:
        answer, _ = outcome
        if answer.status not in {200, 201}:
            return False
        self.session = SignedIn(self.email, self._cookie(), time.monotonic(), answer.is_degraded)
        self.ledger.sessions.append(self.session)
        _, profile = await self._call("read", "GET", "/api/profile")
        if isinstance(profile, dict) and "session" in profile:
            self.session.handle = profile["session"]["id"]
        return True

    def _cookie(self) -> str:
        morsel = self._jar.filter_cookies(self._url).get(self.cookie)
        return morsel.value if morsel is not None else ""

    async def _call(self, kind: Kind, method: str, path: str, body: Any = None) -> tuple[Answer, Any]:
        asked_at = time.monotonic()
        status, content = 0, None
        try:
            async with self._http.request(method, self._url.join(URL(path)), json=body) as response:
                status = response.status
                content = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            content = {"error": f"{type(error).__name__}: {error}"}
        members = content if isinstance(content, dict) else {}
        session = self.session
        is_out = kind == "read" and session is not None and (status == 401 or members.get("authenticated") is False)
        is_degraded = bool(members.get("degraded") or (members.get("session") or {}).get("degraded"))
        answered_at = time.monotonic()
        answer = Answer(
            kind, self.worker, asked_at, answered_at - asked_at, status, is_degraded, is_out,
            str(members.get("error", "")), self.email, self._standstills.within(asked_at, answered_at),
        )  # fmt: skip
        self.ledger.answers.append(answer)
        if session is not None and self.session is session:
            session.cookie = self._cookie() or session.cookie
        return answer, content
