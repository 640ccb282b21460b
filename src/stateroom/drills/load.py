"""The clients of a drill, each with its own cookie jar and ledger.

- Readers ask who is signed in.
- Writers store numbers, several at once in one session.
- Signers sign in and out.
- Probers store a number as often as they can, which shows when writes succeed again.
- Guests do what the scenario lets them do.
- One task per worker sends the cookies of sessions that were signed out. None of them may be accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import aiohttp

from .client import COOKIE, PARALLEL_WRITES, Client
from .ledger import Ledger, RevivedSession, SignedIn
from .standstill import Standstills

ENDED_PAUSE_SECONDS = 0.05
ENDED_AT_ONCE = 25
PROBE_SECONDS = 0.02
REGISTERED_AT_ONCE = 2
"""More would wait for each other's password hashes on two cores."""
PROBER = "prober"


class Load:
    """All clients of a drill. `steady` runs them.

    `workers`: the workers' URLs. `readers`, `writers`, `signers`, `probers`: how many clients of each kind. `reads`, `writes`,
    `logins`: requests per second, of all clients of the kind together. `cookie`: the name of the service's cookie.
    `domain`: of the clients' email addresses; each load on one database needs its own.
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
        self.guests: list[Client] = []
        self._read_every = readers / reads
        self._write_every = writers * PARALLEL_WRITES / writes
        self._login_every = signers / logins
        self._revived = Ledger()
        self._stop = asyncio.Event()
        self._registering = asyncio.Semaphore(REGISTERED_AT_ONCE)

    @property
    def clients(self) -> list[Client]:
        """Clients of all kinds."""
        return [*self.readers, *self.writers, *self.signers, *self.probers, *self.guests]

    def ledger(self) -> Ledger:
        """The ledgers of all clients until now, in one."""
        whole = Ledger()
        for client in self.clients:
            whole.take(client.ledger)
        whole.take(self._revived)
        return whole

    async def __aenter__(self) -> Self:
        self._exits = contextlib.AsyncExitStack()
        await self._exits.enter_async_context(self.standstills.watching())
        for client in self.clients:
            await self._exits.enter_async_context(client)
        await asyncio.gather(*(self._register(client) for client in self.clients))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def invite(self, part: str, count: int) -> list[Client]:
        """More clients, without accounts. They do only what the scenario lets them do."""
        guests = [self._client(part, number) for number in range(count)]
        for guest in guests:
            await self._exits.enter_async_context(guest)
        self.guests += guests
        return guests

    @contextlib.asynccontextmanager
    async def steady(self) -> AsyncIterator[None]:
        """The clients send requests inside this context. At its end each has received its last response."""
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
                group.create_task(self._keep_trying_ended(worker, url))
            try:
                yield
            finally:
                self._stop.set()

    async def ask(self, worker: int, session: SignedIn) -> dict[str, Any]:
        """Ask a worker who is signed in with this session's cookie."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.get(f"{self.workers[worker]}/api/auth/check", headers={"Cookie": f"{self.cookie}={session.cookie}"}) as response,
        ):
            content: dict[str, Any] = await response.json(content_type=None)
            return content

    async def _register(self, client: Client) -> None:
        async with self._registering:
            await client.register()

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

    async def _keep_trying_ended(self, worker: int, url: str) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            while not await self._pause(ENDED_PAUSE_SECONDS):
                ended = [s for client in self.clients for s in client.ledger.sessions if s.ended_at is not None]
                ended.sort(key=lambda session: session.ended_at or 0.0)
                await self._try_ended(http, worker, ended[-ENDED_AT_ONCE:])

    async def _try_ended(self, http: aiohttp.ClientSession, worker: int, sessions: Sequence[SignedIn]) -> None:
        async def one(session: SignedIn) -> None:
            asked_at = time.monotonic()
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                async with http.get(
                    f"{self.workers[worker]}/api/auth/check", headers={"Cookie": f"{self.cookie}={session.cookie}"}
                ) as response:
                    if response.status == 200 and (await response.json())["authenticated"]:
                        self._revived.revived.append(RevivedSession(session, worker, asked_at - (session.ended_at or asked_at)))

        await asyncio.gather(*(one(session) for session in sessions if session.ended_at is not None))

    async def _pause(self, seconds: float) -> bool:
        """Wait. True if the clients must stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()
