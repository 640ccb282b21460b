"""Every shipped proxy, with every case of the table in docs/forward-auth.md."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom import Settings
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.ports import free_port
from stateroom.drills.postgres import Postgres
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..commands import Serving
from ..documents import page
from .cases import WELL, Case, Door, echo, with_a_cookie
from .shipped import APPLICATION, COMMANDS, PROXY, STATEROOM, running

PAGE = "forward-auth.md"
Table = dict[str, dict[str, str]]


@dataclass
class Street:
    """All proxies of one application, and the servers behind them."""

    doors: list[Door]
    service: Serving
    redis: Node
    journal: Postgres

    async def column(self, case: Case) -> dict[str, str]:
        """The outcome of a case at each proxy."""
        return {door.proxy: await _word(case, door) for door in self.doors}

    async def is_well(self) -> bool:
        return set((await self.column(with_a_cookie)).values()) == {"passes"}


async def _word(case: Case, door: Door) -> str:
    try:
        return await case(door)
    except (AssertionError, aiohttp.ClientError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
async def street(tmp_path: Path, own_postgres: Postgres) -> AsyncIterator[Street]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(topology.single(tmp_path / "redis"))
        application = await stack.enter_async_context(TestServer(app))
        settings = {
            "REDIS_HOST": redis.host, "REDIS_PORT": redis.port, "DATABASE_URL": own_postgres.make_database(),
            "COOKIE_KEYS": new_key(), "COOKIE_SECURE": "false", "SESSION_NAME": "session_id", "PASSWORD_BLOCKLIST": "off",
            "TRUSTED_PROXIES": "127.0.0.1/32", "SESSION_RENEW_INTERVAL": "0.01", "LOG_LEVEL": "warning",
            "JWT_KEYS": new_token_key(),
        }  # fmt: skip
        database = Database(Settings(_env_file=None, **{name.lower(): value for name, value in settings.items()}))
        await database.upgrade()
        await database.aclose()
        service = await asyncio.to_thread(Serving(tmp_path, **settings).__enter__)
        stack.callback(service.__exit__, None, None, None)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        doors = []
        for proxy in COMMANDS:
            ports = {STATEROOM: service.port, APPLICATION: application.port or 0, PROXY: free_port()}
            process = await stack.enter_async_context(running(proxy, tmp_path / proxy, ports))
            door = Door(proxy, f"http://127.0.0.1:{ports[PROXY]}", http)
            await until(partial(_answers, door, process, tmp_path / proxy / "log"), f"{proxy} answers", seconds=30)
            await door.register()
            doors.append(door)
        yield Street(doors, service, redis, own_postgres)


async def _answers(door: Door, process: asyncio.subprocess.Process, log: Path) -> bool:
    assert process.returncode is None, log.read_text()
    with contextlib.suppress(aiohttp.ClientError):
        return (await door.ask("/api/auth/check")).status == 200
    return False


def documented() -> Table:
    """The page's table: words, by proxy and by case."""
    lines = re.findall(r"^\| (.*) \|$", page(PAGE).split("## Tested requests and their results", 1)[1], re.MULTILINE)
    rows = [line.split(" | ") for line in lines]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


@pytest.mark.timeout(180)
async def test_every_proxy_does_what_the_table_says(street: Street) -> None:
    seen: Table = {name: await street.column(case) for name, case in WELL.items()}
    street.redis.pause()
    seen["Redis unavailable"] = await street.column(with_a_cookie)
    street.journal.stop()
    seen["Redis and the user database unavailable"] = await street.column(with_a_cookie)
    street.journal.start()
    street.redis.resume()
    await until(street.is_well, "everybody is still signed in, at every proxy")
    street.service.signal(signal.SIGKILL)
    await asyncio.to_thread(street.service.wait)
    seen["Stateroom itself unavailable"] = await street.column(with_a_cookie)
    print(as_text(seen))
    assert seen == documented()


def as_text(table: Table) -> str:
    """The table as it stands on the page."""
    rows = [["request", *COMMANDS], ["---"] * (len(COMMANDS) + 1), *([case, *words.values()] for case, words in table.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
