"""Fixtures for all tests: real servers and their clients."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from stateroom import intervals, testing
from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.drills.ports import take_share
from stateroom.drills.postgres import Postgres, postgres_folder
from stateroom.drills.scratch import memory
from stateroom.insides import of_aiohttp
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from .commands import Command, Serving, environment
from .patience import settled
from .servers import PATIENT, Servers, ServerThread

if TYPE_CHECKING:
    from stateroom.database import Database

ServiceClient = TestClient[web.Request, web.Application]

PATIENCE_WITH_JOURNAL_SECONDS = 20.0

STORES = ["fakeredis", "valkey", "redis", "sentinel", "cluster"]


def require_tool(name: str) -> str:
    """The path of a program. If it is not installed, the test is skipped, or fails in CI."""
    path = shutil.which(name)
    if path is None:
        do_without(name)
    return path


def do_without(name: str, reason: str | None = None) -> NoReturn:
    reason = reason or f"{name} is not installed (apt-get install it; .ci/run does)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_configure() -> None:
    """Processes keep their data in memory, if there is room: a write that waits for a slow disk would look like an outage.

    Each pytest-xdist worker has its own ports for servers.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        take_share(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    place = memory()
    if place is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collections: they stay, and there are a million objects of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test, not from the machine's environment or an `.env` file."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _patient_with_the_journal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a second is no fault. Tests in which the journal hangs say so: `impatient`.

    On a loop of its own time nothing stands still. This reaches only the service in the test's own process.
    """
    if not any(request.node.get_closest_marker(name) for name in ("impatient", "virtual_time")):
        monkeypatch.setattr(intervals, "SHORTEST_PATIENCE_SECONDS", PATIENCE_WITH_JOURNAL_SECONDS)


@pytest.fixture(autouse=True)
def _patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """`testing.settings` has long time-outs for Redis. A test in which Redis hangs gives its own."""
    settings = testing.settings
    monkeypatch.setattr(testing, "settings", lambda **values: settings(**{**PATIENT, **values}))


@pytest.fixture
def counted_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are numbered 1, 2, …: for tests of something else, which must know an id beforehand."""
    monkeypatch.setattr("stateroom.accounts.users.new_id", itertools.count(1).__next__)


@pytest.fixture(params=["aiohttp is known", "aiohttp is unknown"])
def knows_aiohttp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The test runs with an aiohttp whose insides we know, and with one whose insides we don't."""
    from stateroom import ready
    from stateroom.api import answers
    from stateroom.api.forward import answers as forward_answers

    if request.param == "aiohttp is unknown":
        monkeypatch.setattr(of_aiohttp, "is_known", lambda: False)
        monkeypatch.setattr(ready, "ready_response", ready.ordinary_response)
        monkeypatch.setattr(answers, "ready_response", ready.ordinary_response)  # chosen when they were imported
        monkeypatch.setattr(forward_answers, "proxy_response", ready.ordinary_response)
    return of_aiohttp.is_known()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real servers. Each kind starts when it is first used, and runs until the end of the run."""
    with ServerThread() as thread:
        yield Servers(thread, tmp_path_factory.mktemp("servers"))


@pytest.fixture(params=STORES)
def store_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    kind: str = request.param
    if kind == "redis":
        require_tool("redis-server")
    return kind


@pytest.fixture
def store_settings(store_kind: str, servers: Servers) -> Settings:
    """Settings for a store of this kind."""
    return servers.settings(store_kind)


@pytest.fixture
async def client(store_kind: str, store_settings: Settings) -> AsyncIterator[RedisClient]:
    """A started client, for each kind of store."""
    factory = Servers.fake_redis if store_kind == "fakeredis" else None
    made = make_client(store_settings, factory, metrics=Metrics())
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    """The whole service, with a real server, its own database and quick hashes."""
    return servers.service_settings(tmp_path)


@pytest.fixture
async def service(service_settings: Settings, aiohttp_client: AiohttpClient) -> ServiceClient:
    """A client of the running service, with a cookie jar. Both stores answer."""
    from stateroom.app import make_app  # it imports SQLAlchemy: half of the time that one file of tests takes to start

    app = make_app(service_settings)
    client = await aiohttp_client(app)
    await settled(app)
    return client


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server. It starts when it is first used, and runs until the end of the run."""
    with _new_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that the test may stop."""
    with _new_postgres() as server:
        yield server


def _new_postgres() -> Postgres:
    programs = postgres_folder()
    if programs is None:
        do_without("postgresql")
    return Postgres(programs)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Settings:
    """Settings for an empty database, of each kind."""
    if request.param == "sqlite":
        return servers.settings("fakeredis", database_url=None, state_dir=tmp_path / "state")
    return servers.settings("fakeredis", database_url=request.getfixturevalue("postgres").make_database())


@pytest.fixture
async def database(database_settings: Settings) -> AsyncIterator[Database]:
    """A database with the current schema, of each kind."""
    from stateroom.database import Database

    made = Database(database_settings)
    await made.upgrade()
    yield made
    await made.aclose()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """The service with an embedded server, as it starts without settings."""
    with Serving(tmp_path) as service:
        yield service


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `stateroom …` with the state of `serving`. Settings are keyword arguments. `typed`: what its standard input has."""

    def run(*arguments: str, typed: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stateroom", *arguments],
            env=environment(tmp_path, settings),
            cwd=tmp_path,
            input=typed,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
