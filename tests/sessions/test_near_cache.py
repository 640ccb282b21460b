"""Two workers that keep copies of sessions: what one does, the other sees; an end holds at both."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS, Unavailable, get_session
from stateroom.backend import near_cache
from stateroom.backend.near_cache import ASK_SECONDS, NearCache
from stateroom.backend.server import ServerClient
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.drills.ports import free_port
from stateroom.drills.relay import Relay
from stateroom.errors import SessionEnded
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.session import Session, record_of, take
from stateroom.settings import Address
from stateroom.setup import METRICS, setup

from ..patience import settled
from ..servers import AS_USERS_HAVE_IT, Servers

TRIALS = 200
BUSY_LOADS = 30


@dataclass
class Worker:
    """One process' worth of sessions. `heard`: set when the server has told it that a session changed."""

    app: web.Application
    client: TestClient[web.Request, web.Application]
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def manager(self) -> SessionManager:
        return self.app[SESSIONS]

    @property
    def near(self) -> NearCache:
        near = self.manager._parts.client.standing("").near
        assert near is not None
        return near

    @property
    def hits(self) -> int:
        """Loads that copies answered."""
        return self.app[METRICS].session_cache_hits.pending

    async def load(self, cookie: str) -> Session:
        return await self.manager.load(cookie)

    async def by_copy(self, cookie: str) -> Session:
        """Loaded again and again until a copy answered."""
        before = self.hits
        async with asyncio.timeout(10):
            while True:
                session = await self.load(cookie)
                if self.hits > before:
                    return session

    async def is_trusted(self, cookie: str) -> bool:
        """False also where it cannot be known."""
        with contextlib.suppress(Unavailable):
            return (await self.load(cookie)).is_signed_in
        return False

    def lose_news(self) -> None:
        """What the server tells gets lost: nothing but the worker's own doing ends a copy."""
        link = self.manager._parts.client._shared.reads._link  # type: ignore[attr-defined]
        link._on_push = None

    def watch(self) -> None:
        """Have `heard` set by news of a session."""
        link = self.manager._parts.client._shared.reads._link  # type: ignore[attr-defined]
        hear = link._on_push

        def hear_and_tell(push: list[Any]) -> None:
            hear(push)
            if any(b":s:" in key for key in push[1] or ()):
                self.heard.set()

        link._on_push = hear_and_tell

    async def settled(self) -> None:
        await settled(self.app)


async def see(request: web.Request) -> web.Response:
    return web.json_response({"n": get_session(request).get("n")})


@contextlib.asynccontextmanager
async def worker(servers: Servers, at: Address, folder: Path, **values: Any) -> AsyncIterator[Worker]:
    app = web.Application()
    own: dict[str, Any] = {
        "redis_host": at.host, "redis_port": at.port, "session_cache_max_age": 30, "database_url": f"sqlite:///{folder}/journal.db",
        "cookie_keys": "A" * 43,
    }  # fmt: skip
    setup(app, servers.settings("fakeredis", **(own | values)))
    app.add_routes([web.get("/", see), web.post("/", see)])
    async with TestClient(TestServer(app)) as client:
        made = Worker(app, client)
        if "database_url" not in values:
            await made.settled()
        yield made


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with topology.single(tmp_path / "store") as made:
        yield made


@pytest.fixture
async def two(node: Node, servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Worker, Worker]]:
    async with worker(servers, node.address, tmp_path) as one, worker(servers, node.address, tmp_path) as other:
        yield one, other


@pytest.fixture
def always_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but news ends a copy."""
    monkeypatch.setattr(near_cache, "HEARD_SECONDS", 3600)
    monkeypatch.setattr(near_cache, "ASK_SECONDS", 3600)


async def sign_in(at: Worker, user: str = "ada", **data: Any) -> tuple[str, Session]:
    session = await at.manager.create(user, data=data)
    return at.manager.seal(session), session


@pytest.mark.usefixtures("always_heard")
async def test_a_copy_answers_without_a_command(two: tuple[Worker, Worker], node: Node) -> None:
    one, _ = two
    cookie, _ = await sign_in(one, n=1)
    await one.load(cookie)

    async def asked() -> int:
        stats = (await node.call("INFO", "commandstats")).decode()
        return int(stats.split("cmdstat_hgetall:calls=")[1].split(",")[0])

    before, hits = await asked(), one.app[METRICS].session_loads["hit"].pending
    for _ in range(100):
        assert (await one.load(cookie))["n"] == 1
    assert await asked() == before
    assert one.hits == 100
    assert one.app[METRICS].session_loads["hit"].pending == hits + 100


@pytest.mark.usefixtures("always_heard")
@pytest.mark.parametrize("step", ["save", "change", "take", "end", "rotate", "revoke_all", "lose"])
async def test_what_one_worker_does_the_other_sees_once_it_has_heard(two: tuple[Worker, Worker], node: Node, step: str) -> None:
    here, there = two
    there.watch()
    for trial in range(1, TRIALS if step == "save" else 10):
        user = f"user{trial}"
        cookie, session = await sign_in(here, user, n=0)
        await there.by_copy(cookie)
        there.heard.clear()
        match step:
            case "save":
                session["n"] = trial
                await session.save()
            case "change":
                await session.change("n", trial.__add__)
            case "take":
                await take(session, [".n"])
            case "end":
                await here.manager.end(session)
            case "rotate":
                await here.manager.rotate(session)
            case "revoke_all":
                await here.manager.revoke_all(user)
            case _:
                await node.call("DEL", here.manager._parts.store.key(record_of(session).ref))
        async with asyncio.timeout(10):
            await there.heard.wait()
        seen = await there.load(cookie)
        if step in {"save", "change", "take"}:
            assert seen.get("n") == (None if step == "take" else trial)
        elif step == "lose":
            assert seen.restored
        else:
            assert not seen.is_signed_in


@pytest.mark.usefixtures("always_heard")
async def test_a_worker_reads_what_it_wrote_though_the_news_is_lost(two: tuple[Worker, Worker]) -> None:
    one, _ = two
    one.lose_news()
    cookie, session = await sign_in(one, n=0)
    await one.by_copy(cookie)
    session["n"] = 1
    await session.save()
    assert (await one.by_copy(cookie))["n"] == 1
    await session.change("n", lambda _: 2)
    assert (await one.by_copy(cookie))["n"] == 2
    await take(session, [".n"])
    assert "n" not in await one.by_copy(cookie)
    one.manager._parts.clock.skew_ms += 61_000  # a renewal is due
    assert await one.manager.renew(session)
    assert record_of(await one.by_copy(cookie)).renewed_ms == record_of(session).renewed_ms
    await one.manager.rotate(session)
    assert not (await one.load(cookie)).is_signed_in
    cookie = one.manager.seal(session)
    await one.by_copy(cookie)
    await one.manager.revoke_all("ada")
    assert not (await one.load(cookie)).is_signed_in


@pytest.mark.usefixtures("always_heard")
async def test_a_due_session_is_renewed_as_without_copies(two: tuple[Worker, Worker]) -> None:
    one, _ = two
    cookie, session = await sign_in(one)
    await one.by_copy(cookie)
    one.manager._parts.clock.skew_ms += 61_000
    async with one.client.get("/", headers={"Cookie": f"session_id={cookie}"}) as response:
        assert "session_id" in response.headers["Set-Cookie"]
    assert record_of(await one.load(cookie)).renewed_ms > record_of(session).renewed_ms


@pytest.mark.usefixtures("always_heard")
async def test_a_copy_does_not_outlive_the_session(two: tuple[Worker, Worker]) -> None:
    one, _ = two
    cookie, _ = await sign_in(one)
    await one.by_copy(cookie)
    one.manager._parts.clock.skew_ms += 3601_000
    assert not await one.is_trusted(cookie)


@pytest.mark.usefixtures("always_heard")
async def test_a_request_that_may_write_reads_from_the_store(two: tuple[Worker, Worker]) -> None:
    """Else one client's requests, in a row, could lose what the first one wrote at another worker."""
    here, there = two
    there.lose_news()
    cookie, session = await sign_in(here, n=0)
    headers = {"Cookie": f"session_id={cookie}"}
    await there.by_copy(cookie)
    session["n"] = 1
    await session.save()
    seen = {}
    for method in ("GET", "POST"):
        async with there.client.request(method, "/", headers=headers) as response:
            seen[method] = (await response.json())["n"]
    assert seen == {"GET": 0, "POST": 1}


@pytest.mark.usefixtures("always_heard")
async def test_what_a_handler_does_to_a_session_stays_in_its_request(two: tuple[Worker, Worker]) -> None:
    one, _ = two
    cookie, _ = await sign_in(one, cart=[1], n=1)
    kept = record_of(await one.by_copy(cookie)).fields
    before = copy.deepcopy(kept)
    mine, other = await one.by_copy(cookie), await one.by_copy(cookie)
    assert record_of(mine).fields is kept
    mine["cart"].append(2)
    mine["new"] = "x"
    del mine["n"]
    assert (other["cart"], other["n"], "new" in other) == ([1], 1, False)
    assert (await one.by_copy(cookie))["cart"] == [1]
    await mine.save()  # takes over what it wrote
    await mine.change("cart", lambda cart: [*cart, 3])
    assert kept == before
    assert (other["cart"], other["n"]) == ([1], 1)
    assert dict(await one.by_copy(cookie)) == {"cart": [1, 2, 3], "new": "x"}


async def test_a_write_to_a_session_that_has_ended_elsewhere_is_refused(two: tuple[Worker, Worker]) -> None:
    here, there = two
    cookie, session = await sign_in(here, n=0)
    stale = await there.by_copy(cookie)
    await here.manager.end(session)
    stale["n"] = 1
    with pytest.raises(SessionEnded):
        await stale.save()


async def keep_busy(at: Worker, cookie: str) -> None:
    """Load without pause, so that copies are used."""
    while True:
        await at.is_trusted(cookie)
        await asyncio.sleep(0)


@pytest.mark.parametrize("step", ["end", "rotate", "revoke_all"])
async def test_an_acknowledged_end_is_trusted_by_no_copy(two: tuple[Worker, Worker], step: str) -> None:
    here, there = two

    async def revoke_all(session: Session) -> None:
        assert session.user_id is not None
        await here.manager.revoke_all(session.user_id)

    ends: dict[str, Callable[[Session], Awaitable[Any]]] = {
        "end": here.manager.end, "rotate": here.manager.rotate, "revoke_all": revoke_all,
    }  # fmt: skip
    for trial in range(20):
        cookie, session = await sign_in(here, f"user{trial}")
        await there.by_copy(cookie)
        busy = asyncio.create_task(keep_busy(there, cookie))
        await ends[step](session)
        assert not await there.is_trusted(cookie)
        busy.cancel()
    assert there.hits > 20


@pytest.mark.parametrize("has_journal", [True, False])
async def test_an_end_holds_at_a_worker_that_news_does_not_reach(
    node: Node, servers: Servers, tmp_path: Path, has_journal: bool
) -> None:
    """Its connection stands still, nobody is told; the tail, or without one the silence, makes it refuse."""
    values = {} if has_journal else {"database_url": "none"}
    at = Address("127.0.0.1", free_port())
    async with (
        Relay(at, node.address) as relay,
        worker(servers, node.address, tmp_path, **values) as here,
        worker(servers, at, tmp_path, **values) as there,
    ):
        cookie, session = await sign_in(here)
        await there.by_copy(cookie)
        busy = asyncio.create_task(keep_busy(there, cookie))
        relay.cut(["127.0.0.1"])
        await here.manager.end(session)
        assert not await there.is_trusted(cookie)
        relay.heal()
        busy.cancel()


@pytest.mark.usefixtures("always_heard")
async def test_no_copy_is_older_than_the_setting(two: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = two
    there.lose_news()
    cookie, session = await sign_in(here, n=0)
    await there.by_copy(cookie)
    session["n"] = 1
    await session.save()
    assert (await there.load(cookie))["n"] == 0
    now = time.monotonic()
    monkeypatch.setattr(near_cache, "time", SimpleNamespace(monotonic=lambda: now + 30))
    assert (await there.load(cookie))["n"] == 1


async def test_a_server_that_stands_still_makes_copies_useless(servers: Servers, node: Node, tmp_path: Path) -> None:
    async with worker(servers, node.address, tmp_path, **AS_USERS_HAVE_IT) as one:
        cookie, _ = await sign_in(one, n=1)
        await one.by_copy(cookie)
        node.pause()
        try:
            async with asyncio.timeout(10):
                while not (session := await one.load(cookie)).degraded:
                    await asyncio.sleep(ASK_SECONDS)  # time has to pass
            assert session.is_signed_in  # by its cookie: the store had it a moment ago
            with pytest.raises(Unavailable):
                session.get("n")
        finally:
            node.resume()
        assert len(one.near) == 0


@pytest.mark.usefixtures("always_heard")
async def test_a_copy_counts_as_seen_in_the_store(two: tuple[Worker, Worker]) -> None:
    """A session that copies alone have answered for is carried through an outage as long as any other."""
    one, _ = two
    cookie, _ = await sign_in(one)
    await one.by_copy(cookie)
    one.manager._parts.clock.skew_ms += 400_000  # more than DEGRADED_MAX_AGE, less than the idle lifetime
    await one.by_copy(cookie)
    client = one.manager._parts.client
    assert isinstance(client, ServerClient)
    with contextlib.ExitStack() as away:
        from stateroom import testing

        away.enter_context(testing.redis_down(one.app))
        client.standing("").lost()
        session = await one.load(cookie)
        assert session.degraded
        assert session.is_signed_in


@pytest.mark.usefixtures("always_heard")
async def test_nobody_gets_anothers_session(two: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Many users at once, few copies, writes at both workers, and connections that break."""
    monkeypatch.setattr(near_cache, "COPIES_AT_MOST", 5)
    cookies = {f"user{number}": (await sign_in(two[number % 2], f"user{number}", who=number))[0] for number in range(12)}

    async def one_client(number: int) -> None:
        user = f"user{number}"
        for turn in range(BUSY_LOADS):
            at = two[(number + turn) % 2]
            session = await at.load(cookies[user])
            with contextlib.suppress(Unavailable):
                assert session.user_id == user
                assert session["who"] == number
                if turn % 3 == 0:
                    session["turn"] = turn
                    await session.save()
            await asyncio.sleep(0)

    async def break_connections() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            for at in two:
                at.manager._parts.client.drop("for a test")  # type: ignore[attr-defined]

    await asyncio.gather(*(one_client(number) for number in range(12)), break_connections())
    assert sum(at.hits for at in two) > 0
