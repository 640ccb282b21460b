"""Services that start at once on an empty database, with an empty Redis, agree on one deployment.

If they did not, what one has sealed would not open at another.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key

from ..commands import TIMEOUT_SECONDS, environment
from .conftest import MakeStore
from .deployments import ADA
from .hosts import Host, Service, Store
from .user_databases import PostgresDatabase, SqliteFile, UserDatabase

STARTED_AT_ONCE = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> UserDatabase:
    """One without a schema."""
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "database")
    return PostgresDatabase(request.getfixturevalue("postgres"), has_schema=False)


def upgrade_at_once(hosts: list[Host]) -> None:
    """As the first steps of a deployment do on PostgreSQL, on every host."""
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-m", "stateroom", "db", "upgrade"],
            env=environment(host.folder, host.settings), cwd=host.folder, stderr=subprocess.PIPE, text=True,
        )
        for host in hosts
    ]  # fmt: skip
    for each in upgrades:
        _, said = each.communicate(timeout=TIMEOUT_SECONDS)
        assert each.returncode == 0, said


def agree(services: list[Service], store: Store, database: UserDatabase) -> None:
    """What each has given out before anything else was done is good at all others."""
    users = [service.register(ADA | {"email": f"{number}@example.com"}) for number, service in enumerate(services)]
    for user, cookie in users:
        assert {service.whom(cookie) for service in services} == {user}
    for number, (user, _) in enumerate(users):
        credentials = services[number].credentials(ADA | {"email": f"{number}@example.com"})
        seen = {name: [service.whom(*each) for service in services] for name, each in credentials.items()}
        assert seen == dict.fromkeys(credentials, [user] * len(services)), credentials
    [deployment] = database.ask("SELECT id FROM fleet")
    for service in services:
        service.settle()
    assert store.deployment() == deployment


def test_hosts(make_store: MakeStore, database: UserDatabase, tmp_path: Path) -> None:
    store = make_store()
    keys = {"COOKIE_KEYS": new_key(), "JWT_KEYS": new_token_key()}
    hosts = [Host(tmp_path / f"host-{number}", store.node, database, **keys) for number in range(STARTED_AT_ONCE)]
    if isinstance(database, PostgresDatabase):
        upgrade_at_once(hosts)
    with contextlib.ExitStack() as stack:
        services = [host.serve() for host in hosts]
        for service in services:
            stack.push(service)
        for service in services:
            service.wait_for("listens on")
        agree(services, store, database)


def test_workers_of_one_host(make_store: MakeStore, database: UserDatabase, tmp_path: Path) -> None:
    """They share a port, so a new connection may reach either."""
    store = make_store()
    host = Host(tmp_path / "host", store.node, database, COOKIE_KEYS=new_key(), JWT_KEYS=new_token_key())
    if isinstance(database, PostgresDatabase):
        upgrade_at_once([host])
    with host.serve("--workers", "2") as service:
        agree([service] * 8, store, database)
