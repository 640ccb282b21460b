"""The application under test, for the state machine and for what it has found."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import pytest

from tests.servers import Servers

from .world import World


@pytest.fixture(scope="module", params=["journal", "no journal"])
def started_world(request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("handlers")
    settings = servers.settings(
        "valkey",
        redis_key_prefix=f"test-{secrets.token_hex(4)}",
        database_url=f"sqlite:///{folder}/users.db" if request.param == "journal" else "none",
        state_dir=folder,
    )
    with contextlib.closing(World(settings)) as world:
        yield world


@pytest.fixture
def world(started_world: World) -> Iterator[World]:
    started_world.begin()
    yield started_world
    started_world.end()
