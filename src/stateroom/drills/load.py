"""Clients of the service, over HTTP, each with its cookie jar and its ledger.

Readers ask who they are; writers store numbers, also several at once in one session; signers sign in and out; a prober
stores one as often as it can, to see when that works again; a ghost tries the cookies of sessions that were signed out,
on every worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import aiohttp
from yarl import URL

from .ledger import Answer, Ghost, Kind, Ledger, SignedIn, Write
from .standstill import Standstills

PASSWORD = "correct horse battery"  # noqa: S105 (of accounts that live as long as the drill)
COOKIE = "session_id"
PATIENCE_SECONDS = 15.0
GHOST_PAUSE_SECONDS = 0.05
GHOSTS_AT_ONCE = 25
PROFILE_EVERY = 5
PARALLEL_WRITES = 4
PROBE_SECONDS = 0.02
PROBER = "prober"


class Client:
    """One browser with one account. It keeps one connection to its worker."""

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
        # As browsers do on loopback, where a Secure cookie needs no TLS.
        self._jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=self._url.origin())
        connector = aiohttp.TCPConnector(limit=PARALLEL_WRITES)
        self._http = aiohttp.ClientSession(
            cookie_jar=self._jar, connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def register(self) -> None:
        """Make the account, and sign in."""
        body = {"email": self.email, "password": PASSWORD, "name": "Drill"}
        await self._signed_in(await self._call("login", "POST", "/api/auth/register", body))

    async def login(self) -> bool:
        """Sign in. The session before, if there is one, must have been ended."""
        answer = await self._call("login", "POST", "/api/auth/login", {"email": self.email, "password": PASSWORD})
        return await self._signed_in(answer)

    async def logout(self) -> bool:
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
        """Give the password again, for a new session id."""
        async with self._turn:
            answer, _ = await self._call("login", "POST", "/api/auth/reauthenticate", {"password": PASSWORD})
        return answer.status == 200

    async def read(self) -> Answer:
        """Ask who one is."""
        self._reads += 1
        path = "/api/profile" if self._reads % PROFILE_EVERY == 0 else "/api/auth/check"
        async with self._turn:  # a browser that awaits a new cookie does not ask with the old one
            answer, _ = await self._call("read", "GET", path)
        return answer

    async def write(self, key: str, value: int) -> bool:
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


class Load:
    """All clients of a drill. `steady` runs them; rates are per second, of all together.

    `cookie`: what the service calls its own. `domain`: of the clients' addresses, another for each load on one database.
    """

    def __init__(
        self, workers: Sequence[str], *, readers: int = 20, reads: float = 200, writers: int = 4, writes: float = 20,
        signers: int = 6, logins: float = 3, probers: int = 0, cookie: str = COOKIE, domain: str = "example.com",
    ) -> None:  # fmt: skip
        self.workers = list(workers)
        self.cookie = cookie
        self.domain = domain
        self.standstills = Standstills()
        self.readers = [self._client("reader", number) for number in range(readers)]
        self.writers = [self._client("writer", number) for number in range(writers)]
        self.signers = [self._client("signer", number) for number in range(signers)]
        self.probers = [self._client(PROBER, number) for number in range(probers)]
        self._read_every = readers / reads
        self._write_every = writers * PARALLEL_WRITES / writes
        self._login_every = signers / logins
        self._ghosts = Ledger()
        self._stop = asyncio.Event()

    @property
    def clients(self) -> list[Client]:
        return [*self.readers, *self.writers, *self.signers, *self.probers]

    def ledger(self) -> Ledger:
        """What all clients were told until now."""
        whole = Ledger()
        for client in self.clients:
            whole.take(client.ledger)
        whole.take(self._ghosts)
        return whole

    async def __aenter__(self) -> Self:
        self._exits = contextlib.AsyncExitStack()
        await self._exits.enter_async_context(self.standstills.watching())
        for client in self.clients:
            await self._exits.enter_async_context(client)
            await client.register()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    @contextlib.asynccontextmanager
    async def steady(self) -> AsyncIterator[None]:
        """Inside, the clients are at it. Afterwards each has had its last answer."""
        self._stop.clear()
        async with asyncio.TaskGroup() as group:
            for number, reader in enumerate(self.readers):
                group.create_task(self._keep_reading(reader, number / len(self.readers)))
            for number, writer in enumerate(self.writers):
                group.create_task(self._keep_writing(writer, number / len(self.writers)))
            for number, signer in enumerate(self.signers):
                group.create_task(self._keep_signing(signer, number / len(self.signers)))
            for prober in self.probers:
                group.create_task(self._keep_probing(prober))
            for worker, url in enumerate(self.workers):
                group.create_task(self._haunt(worker, url))
            try:
                yield
            finally:
                self._stop.set()

    async def ask(self, worker: int, session: SignedIn) -> dict[str, Any]:
        """Who somebody with this session's cookie is, says a worker."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.get(f"{self.workers[worker]}/api/auth/check", headers={"Cookie": f"{self.cookie}={session.cookie}"}) as response,
        ):
            content: dict[str, Any] = await response.json(content_type=None)
            return content

    def _client(self, part: str, number: int) -> Client:
        return Client(self.workers, number % len(self.workers), f"{part}-{number}@{self.domain}", self.cookie, self.standstills)

    async def _keep_reading(self, client: Client, share: float) -> None:
        await self._pause(share * self._read_every)
        while not await self._pause(self._read_every):
            await client.read()

    async def _keep_writing(self, client: Client, share: float) -> None:
        await self._pause(share * self._write_every)
        value = 0
        while not await self._pause(self._write_every):
            value += 1
            await asyncio.gather(*(client.write(f"key-{number}", value) for number in range(PARALLEL_WRITES)))

    async def _keep_signing(self, client: Client, share: float) -> None:
        await self._pause(share * self._login_every)
        while not await self._pause(self._login_every / 2):
            if client.session is not None:
                await client.logout()
            if await self._pause(self._login_every / 2):
                break
            await client.login()

    async def _keep_probing(self, client: Client) -> None:
        value = 0
        while not await self._pause(PROBE_SECONDS):
            value += 1
            await client.write("probe", value)

    async def _haunt(self, worker: int, url: str) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            while not await self._pause(GHOST_PAUSE_SECONDS):
                ended = [s for signer in self.signers for s in signer.ledger.sessions if s.ended_at is not None]
                ended.sort(key=lambda session: session.ended_at or 0.0)
                await self._try(http, worker, ended[-GHOSTS_AT_ONCE:])

    async def _try(self, http: aiohttp.ClientSession, worker: int, sessions: Sequence[SignedIn]) -> None:
        async def one(session: SignedIn) -> None:
            asked_at = time.monotonic()
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                async with http.get(
                    f"{self.workers[worker]}/api/auth/check", headers={"Cookie": f"{self.cookie}={session.cookie}"}
                ) as response:
                    if response.status == 200 and (await response.json())["authenticated"]:
                        self._ghosts.ghosts.append(Ghost(session, worker, asked_at - (session.ended_at or asked_at)))

        await asyncio.gather(*(one(session) for session in sessions if session.ended_at is not None))

    async def _pause(self, seconds: float) -> bool:
        """Wait, and say whether it is time to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()
