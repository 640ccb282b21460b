"""A real browser and a real service, one of each for all of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from stateroom.drills import topology
from stateroom.drills.node import Node
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Serving
from ..conftest import require_tool
from ..servers import Servers

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP *.example.com 127.0.0.1",
]  # fmt: skip


@dataclass
class Place:
    """A service, and its own Valkey server."""

    url: str
    node: Node


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = require_tool("chromium")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        await launched.close()


@pytest.fixture(scope="session")
def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("browser")
    node = servers.thread.start(topology.single(folder / "valkey"))
    with serving_for(folder, node, RETURN_HOSTS="localhost") as service:
        yield Place(f"http://127.0.0.1:{service.port}", node)


@pytest.fixture(scope="session")
def brief(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A service whose sessions end soon, and are fresh for a second."""
    folder = tmp_path_factory.mktemp("brief")
    with serving_for(folder, place.node, REDIS_KEY_PREFIX="brief", SESSION_MAX_AGE=8, FRESH_MAX_AGE=1) as service:
        yield Place(f"http://127.0.0.1:{service.port}", place.node)


def serving_for(folder: Path, node: Node, **settings: object) -> Serving:
    return Serving(
        folder,
        REDIS_HOST=node.host,
        REDIS_PORT=node.port,
        COOKIE_KEYS=new_key(),
        COOKIE_SECURE="false",
        PASSWORD_BLOCKLIST="off",
        **settings,
    )
