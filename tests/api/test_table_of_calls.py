"""Each call in each fault, on real servers: every cell of the table in docs/availability.md."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS, get_session, require_auth
from stateroom.app import make_app
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.postgres import Postgres

from ..conftest import ServiceClient
from ..mailbox import Mailbox, mailbox_of
from ..patience import at_most
from ..servers import Servers

PASSWORD = "correct horse battery"
ADA = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
BOB = {"email": "bob@example.com", "password": PASSWORD, "name": "Bob"}
DEGRADED = {"degraded": True, "warning": "some features may be limited"}
FAULTS = ["store away", "store read-only", "store full", "journal away", "both away"]


@dataclass
class World:
    """A running service, its stores, Ada signed in twice, and Bob not yet."""

    client: ServiceClient
    node: Node
    postgres: Postgres
    other_handle: str
    other_cookie: str
    cookie: str
    mailbox: Mailbox
    tokens: dict[str, str]

    async def call(self, method: str, path: str, body: Any = None, *, cookie: str | None = None) -> tuple[int, Any, Any]:
        headers = {} if cookie is None else {"Cookie": f"session_id={cookie}"}
        async with self.client.request(method, path, json=body, headers=headers) as response:
            set_cookie = response.cookies.get("session_id")
            text = await response.text()
            assert (response.status == 503) is ("Retry-After" in response.headers)
            answer = await response.json(content_type=None) if text.startswith("{") else text
            return response.status, answer, set_cookie.value if set_cookie is not None else None

    async def ada(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        return await self.call(method, path, body, cookie=self.cookie)

    async def break_(self, fault: str) -> None:
        match fault:
            case "store away":
                await self.node.kill()
            case "store read-only":
                await self.node.call("CONFIG", "SET", "min-replicas-to-write", 1)
            case "store full":
                await self.node.call("CONFIG", "SET", "maxmemory", 1)
            case "journal away":
                await asyncio.to_thread(self.postgres.stop)
            case "both away":
                await self.node.kill()
                await asyncio.to_thread(self.postgres.stop)

    async def repair(self) -> None:
        """End the fault, and wait until the worker has noticed."""
        if self.node.is_running:
            await self.node.call("CONFIG", "SET", "min-replicas-to-write", 0)
            await self.node.call("CONFIG", "SET", "maxmemory", 0)
        else:
            await self.node.start()
        repaired_at = time.monotonic()
        self.postgres.start()  # not in a thread of the event loop: the kernel would stop it when that thread ends
        await self.is_well(repaired_at)

    async def is_well(self, since: float = 0.0) -> None:
        """The worker has seen since then that both stores answer, and has no pending work for either."""
        assert self.client.app is not None
        manager = self.client.app[SESSIONS]

        async def is_so() -> bool:
            tail = manager._parts.tail
            return manager.store_state() == "settled" and tail.read_at > since and not tail.is_away and not tail.unwritten

        await until(is_so, "the service sees that all is well")


@pytest.fixture
async def world(own_postgres: Postgres, servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> AsyncIterator[World]:
    persistent = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(topology.single(tmp_path / "store", options=persistent))
        own_postgres.start()
        settings = servers.service_settings(
            tmp_path, redis_port=node.port, redis_host=node.host, database_url=own_postgres.make_database(), redis_min_idle=0,
            mail_url=f"file:{tmp_path}/mail", mail_from="stateroom@example.com", public_url="http://stateroom.example",
            email_verification="optional",
        )  # fmt: skip
        database = Database(settings)
        await database.upgrade()
        await database.aclose()
        app = make_app(settings, sends_mail=False)

        async def read(request: web.Request) -> web.Response:
            return web.json_response({"cart": get_session(request).get("cart")})

        async def write(request: web.Request) -> web.Response:
            session = get_session(request)
            session["cart"] = session.get("cart", 1) + 1
            return web.json_response({"cart": session["cart"]})

        @require_auth
        async def careful(request: web.Request) -> web.Response:
            session = get_session(request)
            return web.json_response({"cart": None if session.degraded else session["cart"]})

        app.add_routes([web.get("/read", read), web.post("/write", write), web.get("/careful", careful)])
        client = await aiohttp_client(app)
        mailbox = await stack.enter_async_context(mailbox_of(settings))
        made = World(client, node, own_postgres, "", "", "", mailbox, {})
        await made.is_well()
        status, _, _ = await made.call("POST", "/api/auth/register", ADA)
        assert status == 201
        client.session.cookie_jar.clear()
        _, _, made.other_cookie = await made.call("POST", "/api/auth/login", ADA)
        client.session.cookie_jar.clear()
        _, _, made.cookie = await made.call("POST", "/api/auth/login", ADA)
        client.session.cookie_jar.clear()
        _, listed, _ = await made.ada("GET", "/api/sessions")
        made.other_handle = next(each["id"] for each in listed["sessions"][1:2])
        status, _, _ = await made.ada("POST", "/write")
        assert status == 200
        await made.ada("GET", "/api/profile")
        made.tokens["verify"] = await mailbox.token("verify", ADA["email"])
        yield made
        own_postgres.start()


Check = Callable[[World, int, Any], None]


def is_(status: int, **members: Any) -> Check:
    """Assert this status, and that the answer has these members."""

    def check(world: World, seen: int, body: Any) -> None:
        assert seen == status, body
        if members:
            assert {name: body.get(name) for name in members} == members

    return check


def profile(*, degraded: bool) -> Check:
    def check(world: World, status: int, body: Any) -> None:
        assert status == 200, body
        assert body["user"]["email"] == ADA["email"]
        assert body["session"]["degraded"] is degraded
        assert body["session"]["created_at"] is not None

    return check


def dashboard(*, degraded: bool, flashes: int) -> Check:
    def check(world: World, status: int, body: Any) -> None:
        assert status == 200, body
        assert body["session"]["degraded"] is degraded
        assert len(body["flashes"]) == flashes

    return check


NO_STORE = is_(503, error="session storage degraded")
NO_DATABASE = is_(503, error="user database unavailable")
UNKNOWN = is_(503)
NORMAL = is_(200)

# FAULTS are the columns of the table.
TABLE: dict[tuple[str, str], list[Check]] = {
    ("GET", "/api/auth/check"): [
        is_(200, authenticated=True, degraded=True), *[is_(200, authenticated=True, degraded=False)] * 3, UNKNOWN,
    ],
    ("GET", "/api/profile"): [profile(degraded=True), *[profile(degraded=False)] * 3, UNKNOWN],
    ("GET", "/read"): [NO_STORE, *[is_(200, cart=2)] * 3, UNKNOWN],
    ("POST", "/write"): [NO_STORE, NO_STORE, NO_STORE, NORMAL, UNKNOWN],
    ("GET", "/careful"): [is_(200, cart=None), *[is_(200, cart=2)] * 3, UNKNOWN],
    ("POST", "/api/auth/register"): [*[is_(201, **DEGRADED)] * 3, NO_DATABASE, NO_DATABASE],
    ("POST", "/api/auth/login"): [*[is_(200, **DEGRADED)] * 3, NO_DATABASE, NO_DATABASE],
    ("POST", "/api/auth/logout"): [*[is_(200, message="logout successful")] * 4, UNKNOWN],
    ("DELETE", "/api/sessions/{mine}"): [*[NORMAL] * 4, UNKNOWN],
    ("DELETE", "/api/sessions/{other}"): [is_(202, revoked=None), *[is_(200, revoked=1)] * 3, UNKNOWN],
    ("DELETE", "/api/sessions"): [is_(200, revoked=None), is_(200, revoked=None), is_(200, revoked=2), NO_DATABASE, UNKNOWN],
    ("POST", "/api/auth/password"): [is_(200, **DEGRADED), is_(200, **DEGRADED), is_(200, **DEGRADED), NO_DATABASE, UNKNOWN],
    ("POST", "/api/auth/reauthenticate"): [*[is_(200, **DEGRADED)] * 3, NO_DATABASE, UNKNOWN],
    ("GET", "/api/sessions"): [NO_STORE, *[NORMAL] * 3, UNKNOWN],
    ("GET", "/api/dashboard"): [
        dashboard(degraded=True, flashes=0), dashboard(degraded=False, flashes=0), dashboard(degraded=False, flashes=1),
        dashboard(degraded=False, flashes=1), UNKNOWN,
    ],
    ("GET", "/api/flashes"): [NO_STORE, NO_STORE, is_(200), is_(200), UNKNOWN],
    ("POST", "/api/auth/password/forgot"): [*[is_(202)] * 3, NO_DATABASE, NO_DATABASE],
    ("POST", "/api/auth/password/reset"): [*[NORMAL] * 3, NO_DATABASE, NO_DATABASE],
    ("POST", "/api/auth/email/verify"): [*[is_(200, message="email verified")] * 3, NO_DATABASE, UNKNOWN],
    ("POST", "/api/auth/email/verification"): [*[is_(202)] * 3, NO_DATABASE, UNKNOWN],
    ("POST", "/api/auth/email"): [*[is_(202)] * 3, NO_DATABASE, UNKNOWN],
    ("GET", "/livez"): [NORMAL] * 5,
    ("GET", "/readyz"): [NORMAL] * 5,
    ("GET", "/metrics"): [NORMAL] * 5,
}  # fmt: skip
BODIES: dict[str, Any] = {
    "/api/auth/register": BOB,
    "/api/auth/login": ADA,
    "/api/auth/password": {"current_password": PASSWORD, "new_password": "another good one"},
    "/api/auth/reauthenticate": {"password": PASSWORD},
    "/api/auth/password/forgot": {"email": ADA["email"]},
    "/api/auth/password/reset": {"token": "{reset}", "new_password": "another good one"},
    "/api/auth/email/verify": {"token": "{verify}"},
    "/api/auth/email/verification": {},
    "/api/auth/email": {"email": "new@example.com", "password": PASSWORD},
}
CELLS = [
    pytest.param(method, path, fault, check, id=f"{method} {path}: {fault}")
    for (method, path), checks in TABLE.items()
    for fault, check in zip(FAULTS, checks, strict=True)
]
ENDS = {"POST /api/auth/logout", "DELETE /api/sessions/{mine}", "POST /api/auth/password/reset"}
ENDS_OTHER = {"POST /api/auth/password/reset", "DELETE /api/sessions/{other}", "DELETE /api/sessions", "POST /api/auth/password"}
GIVES_NEW_ID = {"DELETE /api/sessions", "POST /api/auth/password", "POST /api/auth/reauthenticate"}
SIGNS_IN = {"POST /api/auth/register", "POST /api/auth/login"}
ANONYMOUS = SIGNS_IN | {"POST /api/auth/password/forgot", "POST /api/auth/password/reset"}
MAILS: dict[str, set[tuple[str, str]]] = {
    "POST /api/auth/password/forgot": {("reset", ADA["email"])},
    "POST /api/auth/email/verification": {("verify", ADA["email"])},
    "POST /api/auth/email": {("change", "new@example.com")},
    "POST /api/auth/register": {("verify", BOB["email"])},
}
"""The mails of each call that succeeds: their kind and address."""


@pytest.mark.parametrize(("method", "path", "fault", "check"), CELLS)
async def test_each_call_in_each_fault(world: World, method: str, path: str, fault: str, check: Check) -> None:
    _, listed, _ = await world.ada("GET", "/api/sessions")
    mine = next(each["id"] for each in listed["sessions"] if each["current"])
    call = f"{method} {path}"
    if call == "POST /api/auth/password/reset":
        await world.call("POST", "/api/auth/password/forgot", {"email": ADA["email"]})
        world.tokens["reset"] = await world.mailbox.token("reset", ADA["email"])
    given = {name: value.format(**world.tokens) for name, value in BODIES[path].items()} if path in BODIES else None
    await world.break_(fault)
    cookie = None if call in ANONYMOUS else world.cookie
    with at_most(1.5):
        status, body, new_cookie = await world.call(method, path.format(mine=mine, other=world.other_handle), given, cookie=cookie)
    check(world, status, body)
    if status == 503:
        assert new_cookie is None, "what we cannot know signs nobody out"
    # After the fault, everything that was acknowledged is still true.
    world.client.session.cookie_jar.clear()
    await world.repair()
    assert await is_signed_in(world, world.cookie) is (status >= 300 or call not in ENDS | GIVES_NEW_ID)
    assert await is_signed_in(world, world.other_cookie) is (status >= 300 or call not in ENDS_OTHER)
    if status in {200, 201} and call in GIVES_NEW_ID | SIGNS_IN:
        assert new_cookie is not None
        assert await is_signed_in(world, new_cookie), "a sign-in that was acknowledged is a stored session in the end"
        _, listed, _ = await world.call("GET", "/api/sessions", cookie=new_cookie)
        assert any(each["current"] for each in listed["sessions"])
    await is_done_or_not(world, call, done=status < 300)


async def is_signed_in(world: World, cookie: str) -> bool:
    status, body, _ = await world.call("GET", "/api/auth/check", cookie=cookie)
    assert status == 200, body
    assert body["degraded"] is False
    return bool(body["authenticated"])


async def is_done_or_not(world: World, call: str, *, done: bool) -> None:
    """A step with a mailed link, or its mails, are complete, or nothing of it is."""
    mails = {(each.kind, each.to) for each in await world.mailbox.deliver()}
    assert mails == (MAILS.get(call, set()) if done else set())
    for purpose, path in (("verify", "POST /api/auth/email/verify"), ("reset", "POST /api/auth/password/reset")):
        if call == path:
            body = {"token": world.tokens[purpose], "new_password": "another good one", "password": PASSWORD}
            wanted = {name: body[name] for name in ("token", "new_password" if purpose == "reset" else "password")}
            status, answer, _ = await world.call("POST", path.removeprefix("POST "), wanted)
            assert status == (400 if done else 200), answer
