"""Whole deployments for tests: a service with a Redis and a user database of its own each, and one set of keys for all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import redis.asyncio
from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer

from stateroom.app import make_app
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key
from stateroom.settings import Settings

from ..patience import settled
from ..servers import Servers

Place = Literal["cookie", "bearer", "query", "header", "verify", "reset", "invitation"]
"""Where a request may carry a credential. The last three are the forms that mails link to. No credential belongs to `query`
and `header`: parameters of the address and headers of names that other services use.
"""

NAME = "session_id"
QUERY = ("token", "session_id", "session_token", "access_token", "invitation")
HEADERS = (
    "X-Session-Token",
    "X-Auth-Token",
    "X-Access-Token",
    "X-CSRF-Token",
    "Remote-User",
    "Remote-Assertion",
    "Proxy-Authorization",
)
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
KEYS: dict[str, Any] = {"cookie_keys": new_key(), "jwt_keys": new_token_key(), "session_name": NAME}


class Deployment:
    """A running service, and the Redis that is its own."""

    def __init__(self, app: web.Application, server: TestServer, node: Node, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.node = node
        self._server = server

    async def call(
        self, method: str, path: str, body: Any = None, *, value: str = "", place: Place = "cookie"
    ) -> tuple[int, Any, str | None]:
        """The status, the answer, and the value of the cookie that it set. `value`: the credential, carried in `place`."""
        headers: dict[str, str] = {}
        match place if value else None:
            case "cookie":
                headers = {"Cookie": f"{NAME}={value}"}
            case "bearer":
                headers = {"Authorization": f"Bearer {value}"}
            case "query":
                path += "?" + "&".join(f"{name}={quote(value)}" for name in QUERY)
            case "header":
                headers = dict.fromkeys(HEADERS, value)
        async with (
            ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser,
            browser.request(method, self._server.make_url(path), json=body, headers=headers) as response,
        ):
            cookie = response.cookies.get(NAME)
            return response.status, await response.json(content_type=None), None if cookie is None else cookie.value

    async def register(self) -> int:
        """Make Ada's account. Returns its id."""
        status, answer, _ = await self.call("POST", "/api/auth/register", ADA)
        assert status == 201, answer
        return int(answer["user"]["id"])

    async def whom(self, value: str, place: Place) -> int | None:
        """Which user the service takes the sender of this credential for; None for an anonymous visitor."""
        status, answer, cookie = await self.call("GET", "/api/auth/check", value=value, place=place)
        assert status == 200, answer
        if not answer["authenticated"]:
            assert not cookie, "an anonymous visitor was given a cookie"
            return None
        return int(answer["user_id"])

    async def stored(self) -> set[str]:
        """The keys of every stored session."""
        async with redis.asyncio.Redis(host=self.node.host, port=self.node.port, decode_responses=True) as client:
            return {key async for key in client.scan_iter("*:s:*")}


@contextlib.asynccontextmanager
async def running(servers: Servers, folder: Path, **settings: Any) -> AsyncIterator[Deployment]:
    """A deployment with all its state in this folder, settled."""
    folder.mkdir(exist_ok=True)
    async with topology.single(folder / "server") as node:
        own = servers.service_settings(
            folder, redis_host=node.host, redis_port=node.port, redis_key_prefix="session", **(KEYS | settings)
        )
        app = make_app(own, sends_mail=False)
        server = TestServer(app)
        await server.start_server()
        try:
            await settled(app)
            yield Deployment(app, server, node, own)
        finally:
            await server.close()


async def copy_database(source: Path, folder: Path, *, name: str) -> None:
    """Copy a stopped deployment's user database, and give the copy another `DEPLOYMENT` but leave its id."""
    folder.mkdir()
    for each in source.glob("users.db*"):
        shutil.copy(each, folder / each.name)
    settings = Settings(_env_file=None, database_url=f"sqlite:///{folder}/users.db", state_dir=folder, cookie_keys=new_key())
    database = Database(settings)
    journal = Journal(database, settings.longest_session_ms)
    try:
        row = await journal.known_deployment()
        assert row is not None
        await journal.set_identity(row.id, name)
    finally:
        await database.aclose()
