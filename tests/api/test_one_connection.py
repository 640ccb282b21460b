"""What users notice when one of a worker's connections to Redis fails: nothing, or a degraded response to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS
from stateroom.app import make_app
from stateroom.backend.pool import TEST_AFTER_SECONDS
from stateroom.backend.server import ServerClient
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.sessions.manager import SessionManager

from ..backend.fickle import FickleRelay
from ..patience import settled
from ..servers import Servers

PASSWORD = "correct horse"
USERS = 10


class Service:
    """A running service, with users that are signed in."""

    def __init__(self, app: web.Application, base: str) -> None:
        self.manager: SessionManager = app[SESSIONS]
        self.users: list[ClientSession] = [ClientSession(base, cookie_jar=CookieJar(unsafe=True)) for _ in range(USERS)]

    @property
    def client(self) -> ServerClient:
        made = self.manager._parts.client
        assert isinstance(made, ServerClient)
        return made

    async def post(self, user: int, path: str, **body: str) -> tuple[int, Any]:
        async with self.users[user].post(path, json=body) as response:
            return response.status, await response.json()

    async def sign_in(self, user: int, path: str = "login") -> tuple[int, Any]:
        return await self.post(user, f"/api/auth/{path}", email=f"u{user}@example.com", password=PASSWORD, name=f"U{user}")

    async def check(self, user: int) -> tuple[int, bool, bool]:
        async with self.users[user].get("/api/auth/check") as response:
            body = await response.json()
            return response.status, body.get("authenticated"), body.get("degraded")


GOOD = (200, True, False)


def is_degraded(body: dict[str, Any]) -> bool:
    return bool(body.get("degraded"))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with topology.single(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def relay(node: Node) -> AsyncIterator[FickleRelay]:
    """What is between the service and its server."""
    async with FickleRelay(node.address) as made:
        yield made


@pytest.fixture
async def service(relay: FickleRelay, servers: Servers, tmp_path: Path) -> AsyncIterator[Service]:
    """Sign-ins wait for a replica that there is not, so that they need pooled connections."""
    settings = servers.service_settings(
        tmp_path,
        redis_host=relay.at.host,
        redis_port=relay.at.port,
        redis_write_replicas=1,
        redis_min_idle=0,
        redis_read_timeout=3,  # CLIENT PAUSE lasts longer
        session_renew_interval=3000,
    )
    app = make_app(settings)
    async with TestServer(app) as server, TestClient(server):
        await settled(app)
        made = Service(app, str(server.make_url("/")))
        for user in range(USERS):
            status, _ = await made.sign_in(user, "register")
            assert status == 201
        yield made
        for session in made.users:
            await session.close()


async def watched(service: Service, work: Awaitable[Any]) -> tuple[Any, set[tuple[int, bool, bool]]]:
    """Check the first user's session again and again while this work goes on. Returns all that was answered."""
    task, seen = asyncio.ensure_future(work), set()
    while not task.done():
        seen.add(await service.check(0))
    seen.add(await service.check(0))
    return await task, seen


async def test_as_many_clients_as_the_server_allows(service: Service, node: Node) -> None:
    """Sign-ins find no further connection. They go on without WAIT, and the other users notice nothing."""
    service.client._pool.drop()
    await node.call("CONFIG", "SET", "maxclients", "2")
    signed_in, seen = await watched(service, asyncio.gather(*(service.sign_in(user) for user in range(1, USERS))))
    assert {status for status, _ in signed_in} == {200}
    assert not any(is_degraded(body) for _, body in signed_in)
    assert seen == {GOOD}
    assert service.client.is_available
    signed_out, seen = await watched(service, service.post(1, "/api/auth/logout"))
    assert signed_out[0] == 200
    assert seen == {GOOD}


async def test_the_server_closes_idle_connections(service: Service, node: Node) -> None:
    await node.call("CONFIG", "SET", "timeout", "1")

    async def are_closed() -> bool:
        return b"cmd=wait" not in await node.call("CLIENT", "LIST", "TYPE", "normal")

    _, seen = await watched(service, until(are_closed, "the server has closed the pooled connections"))
    assert seen == {GOOD}
    signed_in, seen = await watched(service, asyncio.gather(*(service.sign_in(user) for user in range(1, USERS))))
    assert {(status, is_degraded(body)) for status, body in signed_in} == {(200, False)}
    assert seen == {GOOD}


async def test_a_firewall_forgets_idle_connections(service: Service, node: Node, relay: FickleRelay) -> None:
    """The next sign-ins, one after another, find silent connections in the pool."""
    await asyncio.gather(*(service.sign_in(user) for user in range(1, USERS)))
    idle: list[str] = []

    async def are_idle() -> bool:
        """The connections that last sent WAIT are those of the pool. CLIENT LIST cuts the fraction of a second off."""
        lines = (await node.call("CLIENT", "LIST", "TYPE", "normal")).decode().splitlines()
        pooled = [dict(each.split("=", 1) for each in line.split()) for line in lines if "cmd=wait" in line]
        idle[:] = [each["addr"] for each in pooled]
        return all(int(each["idle"]) > TEST_AFTER_SECONDS for each in pooled)

    await until(are_idle, "the pooled connections are idle")
    assert len(idle) > 1
    relay.forgets.update(idle)

    async def sign_in_one_after_another() -> list[tuple[int, Any]]:
        return [await service.sign_in(user) for user in range(1, 8)]

    signed_in, seen = await watched(service, sign_in_one_after_another())
    assert [(status, is_degraded(body)) for status, body in signed_in] == [(200, False)] * 7
    assert seen == {GOOD}
    assert relay.forgotten > 0
    assert service.client.is_available


async def test_an_administrator_kills_every_connection(service: Service, node: Node) -> None:
    for user in range(1, 4):
        await node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        signed_in, seen = await watched(service, service.sign_in(user))
        assert signed_in[0] == 200
        assert seen == {GOOD}
        assert service.client.is_available


async def test_a_server_that_holds_writes_back(service: Service, node: Node) -> None:
    """CLIENT PAUSE WRITE, and the moment of a failover that Valkey coordinates."""
    await node.call("CLIENT", "PAUSE", "5000", "WRITE")
    signed_in, seen = await watched(service, asyncio.gather(*(service.sign_in(user) for user in range(1, USERS))))
    assert {status for status, _ in signed_in} == {200}
    assert seen == {GOOD}

    async def can_write() -> bool:
        status, body = await service.sign_in(1)
        return status == 200 and not is_degraded(body)

    _, seen = await watched(service, until(can_write, "a sign-in is stored"))
    assert seen == {GOOD}
