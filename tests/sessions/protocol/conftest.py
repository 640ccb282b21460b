"""An application on a real Valkey, with and without a journal."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stateroom import SESSIONS, SessionManager, setup
from stateroom.sessions.wiring import Parts
from stateroom.setup import PARTS

from ...patience import settled
from ...servers import Servers


@pytest.fixture(params=["journal", "no journal"])
async def app(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[web.Application]:
    own: dict[str, Any] = {"redis_key_prefix": f"test-{secrets.token_hex(4)}", "redis_read_timeout": 5}
    if request.param == "journal":
        own |= {"database_url": f"sqlite:///{tmp_path}/users.db", "state_dir": tmp_path}
    app = web.Application()
    setup(app, servers.settings("valkey", **own))
    app.freeze()
    await app.startup()
    await settled(app)
    yield app
    await app.cleanup()


@pytest.fixture
def parts(app: web.Application) -> Parts:
    return app[PARTS]


@pytest.fixture
def manager(app: web.Application) -> SessionManager:
    return app[SESSIONS]
