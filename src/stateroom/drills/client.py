"""One client of a drilled service: a browser with an account, over HTTP. It writes each response to its ledger."""

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
"""A client waits this long for a response."""
PROFILE_EVERY = 5
"""Each fifth read asks for the profile. The service then loads the user from the database too."""
PARALLEL_WRITES = 4
CONFLICT = 409
UNKNOWN_USER = "unknown-user"
"""The reason that the service gives if a session ended because its user is missing in the user database."""


class Client:
    """One browser with one account. It asks one worker, and keeps its connections open.

    `session`: the session that it is signed in to; None after a sign-out was sent. `user_id`: of its account, as the service told
    it at the last sign-in; 0 if it has no account.
    """

    def __init__(
        self, workers: Sequence[str], worker: int, email: str, cookie: str = COOKIE, standstills: Standstills | None = None
    ) -> None:
        self.ledger = Ledger()
        self.email = email
        self.cookie = cookie
        self.worker = worker
        self.session: SignedIn | None = None
        self.user_id = 0
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

    async def register(self) -> bool:
        """Create the account. This signs in too. True if it succeeded."""
        body = {"email": self.email, "password": PASSWORD, "name": "Drill"}
        answer, content = await self._call("login", "POST", "/api/auth/register", body)
        if answer.status == CONFLICT:  # An earlier registration succeeded, but its response was lost or was 503.
            return await self.login()
        return await self._signed_in((answer, content))

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

    def lose_account(self) -> None:
        """Note that the restored user database lacks the account. The session must end, and a new account gets a new id."""
        self.user_id = 0
        if self.session is not None:
            self.session.is_account_lost = True

    def expect_end(self) -> None:
        """Note that an operator is about to end the session. From now on it may be valid or ended."""
        if self.session is not None:
            self.session.logout_asked_at = time.monotonic()

    def take_end(self) -> None:
        """Note that the end was acknowledged to the operator, and forget the cookie."""
        if self.session is not None:
            self.session.ended_at = time.monotonic()
            self._forget()

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
        answer, content = outcome
        if answer.status not in {200, 201}:
            return False
        self.user_id = _user_of(content)[0] or self.user_id
        self.session = SignedIn(self.email, self._cookie(), time.monotonic(), answer.is_degraded)
        self.session.user_id = self.user_id
        self.ledger.sessions.append(self.session)
        _, profile = await self._call("read", "GET", "/api/profile")
        if isinstance(profile, dict) and "session" in profile:
            self.session.handle = profile["session"]["id"]
        return True

    def _cookie(self) -> str:
        morsel = self._jar.filter_cookies(self._url).get(self.cookie)
        return morsel.value if morsel is not None else ""

    async def _call(self, kind: Kind, method: str, path: str, body: Any = None) -> tuple[Answer, Any]:
        asked_at, session = time.monotonic(), self.session
        status, content = 0, None
        try:
            async with self._http.request(method, self._url.join(URL(path)), json=body) as response:
                status = response.status
                content = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            content = {"error": f"{type(error).__name__}: {error}"}
        members = content if isinstance(content, dict) else {}
        if self.session is not session:  # a sign-in or sign-out came between
            session = None
        says_out = kind == "read" and (status == 401 or members.get("authenticated") is False)
        ended = str(members.get("ended") or members.get("reason") or "") if says_out else ""
        is_degraded = bool(members.get("degraded") or (members.get("session") or {}).get("degraded"))
        answered_at = time.monotonic()
        answer = Answer(
            kind, self.worker, asked_at, answered_at - asked_at, status, is_degraded,
            says_out and session is not None and session.is_live, str(members.get("error", "")), self.email,
            self._standstills.within(asked_at, answered_at), self._is_another(content), ended,
        )  # fmt: skip
        self.ledger.answers.append(answer)
        if session is not None:
            session.cookie = self._cookie() or session.cookie
            if session.is_account_lost and ended == UNKNOWN_USER:
                session.unknown_at = answered_at
                self._forget()
        return answer, content

    def _is_another(self, content: Any) -> bool:
        """Whether a response names an account that is not the client's. At the first sign-in only the email can be compared."""
        user_id, email = _user_of(content)
        if email and email != self.email:
            return True
        own = self.session.user_id if self.session is not None else self.user_id
        return bool(user_id and own and user_id != own)

    def _forget(self) -> None:
        self.session = None
        self._jar.clear()


def _user_of(content: Any) -> tuple[int, str]:
    """The id and the email of the user that a response names; 0 and empty if it names none."""
    members = content if isinstance(content, dict) else {}
    user = members.get("user")
    if isinstance(user, dict):
        return int(user.get("id") or 0), str(user.get("email") or "")
    return int(members.get("user_id") or 0), ""
