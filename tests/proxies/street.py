"""All proxies of one application, and the servers behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom import Settings
from stateroom.accounts.groups import Groups
from stateroom.accounts.users import Users
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.ports import free_port
from stateroom.drills.postgres import Postgres
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..commands import Serving
from .cases import COOKIE, GROUPS, Case, Door, echo
from .cases_of_access import RULES
from .rows import with_a_cookie
from .shipped import APPLICATION, COMMANDS, PROXY, STATEROOM, running

LONGEST_HEADER = 2**16
"""More than the proxies and Stateroom take."""


@dataclass
class Street:
    """All proxies of one application, and the servers behind them."""

    doors: list[Door]
    service: Serving
    redis: Node
    journal: Postgres

    async def column(self, case: Case) -> dict[str, str]:
        """The outcome of a case at each proxy."""
        words = await asyncio.gather(*(_word(case, door) for door in self.doors))
        return {door.proxy: word for door, word in zip(self.doors, words, strict=True)}

    async def is_well(self) -> bool:
        return set((await self.column(with_a_cookie)).values()) == {"passes"}


async def _word(case: Case, door: Door) -> str:
    try:
        return await case(door)
    except (AssertionError, LookupError, ValueError, OSError, aiohttp.ClientError) as error:
        return f"{type(error).__name__}: {error}"


@contextlib.asynccontextmanager
async def built(folder: Path, postgres: Postgres) -> AsyncIterator[Street]:
    """Start the servers and all proxies, and sign a user in at each."""
    app = web.Application(client_max_size=10**6)
    app.router.add_route("*", "/{path:.*}", echo)
    rules = folder / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(topology.single(folder / "redis"))
        application = TestServer(app)
        stack.push_async_callback(application.close)
        await application.start_server(max_field_size=LONGEST_HEADER)
        settings = {
            "REDIS_HOST": redis.host, "REDIS_PORT": redis.port, "DATABASE_URL": postgres.make_database(),
            "COOKIE_KEYS": new_key(), "COOKIE_SECURE": "false", "SESSION_NAME": COOKIE, "PASSWORD_BLOCKLIST": "off",
            "TRUSTED_PROXIES": "127.0.0.1/32", "SESSION_RENEW_INTERVAL": "0.01", "LOG_LEVEL": "warning",
            "JWT_KEYS": new_token_key(), "LOGIN_URL": "/.stateroom/login", "ACCESS_RULES_FILE": rules,
        }  # fmt: skip
        database = Database(Settings(_env_file=None, **{name.lower(): value for name, value in settings.items()}))
        stack.push_async_callback(database.aclose)
        await database.upgrade()
        service = await asyncio.to_thread(Serving(folder, **settings).__enter__)
        stack.callback(service.__exit__, None, None, None)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))

        async def opened(proxy: str) -> Door:
            ports = {STATEROOM: service.port, APPLICATION: application.port or 0, PROXY: free_port()}
            process = await stack.enter_async_context(running(proxy, folder / proxy, ports, session_name=COOKIE))
            door = Door(proxy, f"http://127.0.0.1:{ports[PROXY]}", http, groups=GROUPS)
            await until(partial(_answers, door, process, folder / proxy / "log"), f"{proxy} answers", seconds=30)
            await door.register()
            await Groups(database).change(int(door.user_id), add=GROUPS)
            assert await Users(database, longest_session_ms=0).verify(int(door.user_id), door.email), "its address is proved"
            return door

        yield Street([await opened(proxy) for proxy in COMMANDS], service, redis, postgres)


async def _answers(door: Door, process: asyncio.subprocess.Process, log: Path) -> bool:
    assert process.returncode is None, log.read_text()
    with contextlib.suppress(aiohttp.ClientError):
        return (await door.own("/api/auth/check")).status == 200
    return False
