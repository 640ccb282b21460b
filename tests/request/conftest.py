"""Applications with a journal and without one, on a real Valkey."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar, web
from aiohttp.test_utils import TestServer

import stateroom

from ..servers import Servers
from .sites import Browser, Handler, Site, add_common

OpenSite = Callable[..., Awaitable[Site]]
Setup = Callable[[web.Application], object]


@pytest.fixture(params=["journal", "no journal"])
async def open_site(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[OpenSite]:
    """`await open_site(handlers, **settings)` serves an application whose handlers stand under `/NAME`, for any method."""
    database = f"sqlite:///{tmp_path}/users.db" if request.param == "journal" else "none"
    async with AsyncExitStack() as stack:

        async def open_(*handlers: Handler, outer: Any = (), after_setup: Setup | None = None, **settings: Any) -> Site:
            prefix = f"test-{secrets.token_hex(4)}"
            defaults = {"redis_key_prefix": prefix, "database_url": database, "state_dir": tmp_path}
            app = web.Application(middlewares=outer)
            stateroom.setup(app, servers.settings("valkey", **(defaults | settings)))
            if after_setup is not None:
                after_setup(app)
            add_common(app)
            for handler in handlers:
                app.router.add_route("*", f"/{handler.__name__}", handler)
            server = TestServer(app)
            await stack.enter_async_context(server)
            url = str(server.make_url("")).rstrip("/")
            without_jar = await stack.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))

            def browser() -> Browser:
                client = ClientSession(cookie_jar=CookieJar(unsafe=True))
                stack.push_async_callback(client.close)
                return Browser(client, without_jar, url)

            return Site(app, url, browser)

        yield open_
