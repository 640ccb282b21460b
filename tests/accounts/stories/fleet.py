"""Two workers of the service in one process, on one Redis and one user database of their own, and the browsers of people."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import TestServer

from stateroom import SESSIONS
from stateroom.app import make_app
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.sessions.sealing.token_keys import new_token_key
from stateroom.settings import Settings

from ...mailbox import Mailbox, mailbox_of
from ...patience import settled
from ...request.sites import socket
from ...servers import Servers

COOKIE = "session_id"
OWNER = "owner@example.com"
"""An address that belongs to somebody, who reads its mails."""
PASSWORD, NEW_PASSWORD = "correct horse", "a better horse"

Verification = Literal["off", "optional", "required"]


@dataclass(frozen=True)
class Answer:
    """What a browser got. `value`: of the session's cookie; None if the response set none, empty if it cleared it."""

    status: int
    body: Any
    value: str | None
    retry_after: str | None


@dataclass
class Browser:
    """Somebody's browser, or another client. It keeps its cookie. `headers`: sent with each request."""

    fleet: Fleet
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: Any = None, *, worker: int = 0) -> Answer:
        sent = dict(self.headers)
        if self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        url = self.fleet.servers[worker].make_url(path)
        async with self.fleet.http.request(method, url, json=body, headers=sent, allow_redirects=False) as response:
            text = await response.text()
            answer = await response.json(content_type=None) if text.startswith("{") else text
            set_cookie = response.cookies.get(COOKIE)
            if set_cookie is not None:
                self.cookie = set_cookie.value
            value = None if set_cookie is None else set_cookie.value
            return Answer(response.status, answer, value, response.headers.get("Retry-After"))

    async def post(self, path: str, worker: int = 0, **body: Any) -> Answer:
        return await self.call("POST", path, body, worker=worker)

    async def get(self, path: str, worker: int = 0) -> Answer:
        return await self.call("GET", path, worker=worker)

    async def register(self, email: str = OWNER, password: str = PASSWORD, *, worker: int = 0) -> Answer:
        return await self.post("/api/auth/register", worker, email=email, password=password, name="Somebody")

    async def sign_in(self, email: str = OWNER, password: str = PASSWORD, *, worker: int = 0) -> Answer:
        return await self.post("/api/auth/login", worker, email=email, password=password)

    async def verify(self, token: str, worker: int = 0, **more: Any) -> Answer:
        return await self.post("/api/auth/email/verify", worker, token=token, **more)

    async def reset(self, token: str, new_password: str = NEW_PASSWORD, *, worker: int = 0) -> Answer:
        return await self.post("/api/auth/password/reset", worker, token=token, new_password=new_password)

    async def is_signed_in(self, worker: int = 0) -> bool:
        answer = await self.get("/api/auth/check", worker)
        assert answer.status == 200, answer.body
        return bool(answer.body["authenticated"])

    async def is_verified(self, worker: int = 0) -> bool:
        """Whether the account counts as verified."""
        answer = await self.get("/api/profile", worker)
        assert answer.status == 200, answer.body
        return "verification" not in answer.body


@dataclass
class Fleet:
    """The workers, their stores and everybody's mails."""

    settings: Settings
    node: Node
    servers: list[TestServer]
    http: ClientSession
    mailbox: Mailbox

    def browser(self, **headers: str) -> Browser:
        return Browser(self, headers=headers)

    def app(self, worker: int = 0) -> web.Application:
        return self.servers[worker].app

    async def are_settled(self) -> None:
        for each in self.servers:
            await settled(each.app)

    def states(self) -> set[str]:
        """The store as the workers see it."""
        return {each.app[SESSIONS].store_state() for each in self.servers}

    async def reset_token(self, email: str = OWNER, *, worker: int = 0) -> str:
        """Ask for a reset, as the owner of the address does. Returns the token of the mail."""
        answer = await self.browser().post("/api/auth/password/forgot", worker, email=email)
        assert answer.status == 202, answer.body
        return await self.mailbox.token("reset", email)


@contextlib.asynccontextmanager
async def running(
    servers: Servers, folder: Path, *, workers: int = 2, sends_mail: bool = False, **settings: Any
) -> AsyncIterator[Fleet]:
    """A fleet that verifies addresses. Without `sends_mail` the test decides when mails are sent, with `Fleet.mailbox`.

    It has one handler more, `/socket`: a WebSocket for users.
    """
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(topology.single(folder / "store"))
        defaults: dict[str, Any] = {
            "redis_host": node.host,
            "redis_port": node.port,
            "jwt_keys": new_token_key(),
            "mail_url": f"file:{folder}/mail",
            "mail_from": "Stateroom <stateroom@example.com>",
            "public_url": "http://stateroom.example",
            "email_verification": "required",
            "mail_requests": 1000,
            "mail_requests_per_address": 10_000,
            "login_attempts": 10_000,
            "session_changes_per_user": 0,
            "session_changes_per_address": 0,
        }
        own = servers.service_settings(folder, **(defaults | settings))
        database = Database(own)
        await database.upgrade()
        await database.aclose()
        made: list[TestServer] = []
        for _ in range(workers):
            app = make_app(own, sends_mail=sends_mail)
            app.router.add_get("/socket", socket)
            server = TestServer(app)
            await server.start_server()
            stack.push_async_callback(server.close)
            await settled(app)
            made.append(server)
        http = await stack.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))
        mailbox = await stack.enter_async_context(mailbox_of(own))
        yield Fleet(own, node, made, http, mailbox)
