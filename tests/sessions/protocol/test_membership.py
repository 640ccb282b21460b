"""One deployment, one journal: a second host with a database of its own does not start."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import stateroom
from stateroom import SettingsError
from stateroom.drills.node import until
from stateroom.sessions.protocol.membership import Membership
from stateroom.sessions.store.key_names import KeyNames
from stateroom.setup import CLIENT, setup

from ...servers import Servers


def application(servers: Servers, prefix: str, database: Path) -> web.Application:
    app = web.Application()
    setup(app, servers.settings("sentinel", redis_key_prefix=prefix, database_url=f"sqlite:///{database}"))
    return app


async def test_a_host_with_a_database_of_its_own_does_not_start(servers: Servers, tmp_path: Path) -> None:
    prefix = f"fleet-{secrets.token_hex(4)}"
    first = application(servers, prefix, tmp_path / "one.db")
    async with TestClient(TestServer(first)):
        async with TestClient(TestServer(application(servers, prefix, tmp_path / "one.db"))):
            pass  # the same database: another worker of the deployment

        async def is_ours() -> bool:
            name = KeyNames(prefix).fleet("")
            return await first[CLIENT].execute(name, "GET", name) is not None

        await until(is_ours, "the id is in Redis, over a settled connection")
        with pytest.raises(
            SettingsError, match="DATABASE_URL: Redis holds the sessions of a deployment with another user database"
        ):
            async with TestClient(TestServer(application(servers, prefix, tmp_path / "two.db"))):
                pass
        async with TestClient(TestServer(application(servers, f"{prefix}-other", tmp_path / "two.db"))):
            pass  # a fleet of its own beside it


def test_the_command_says_so_in_one_line(servers: Servers, tmp_path: Path) -> None:
    prefix = f"fleet-{secrets.token_hex(4)}"
    servers.thread.run(servers.sentinel.primary.call("SET", KeyNames(prefix).fleet(""), "another"))
    made = servers.settings("sentinel")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(stateroom.__file__).parents[1]),
        "REDIS_SENTINELS": ",".join(map(str, made.redis_sentinels)),
        "REDIS_KEY_PREFIX": prefix,
        "DATABASE_URL": f"sqlite:///{tmp_path}/own.db",
        "COOKIE_KEYS": made.cookie_keys[0].get_secret_value(),
        "PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "stateroom", "serve"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "DATABASE_URL" in line
    assert "REDIS_KEY_PREFIX" in line


class Shards:
    """Clients of a Cluster whose shards change. `ids`: the deployment's id on each shard."""

    def __init__(self, ids: dict[str, bytes]) -> None:
        self.ids = ids

    def shards(self) -> tuple[str, ...]:
        return tuple(self.ids)

    async def execute(self, key: str, *command: str) -> bytes:
        assert command[0] == "GET"
        [found] = [told for shard, told in self.ids.items() if key == NAMES.fleet(shard)]
        return found


NAMES = KeyNames("session")


async def test_a_foreign_shard_that_is_no_shard_any_more_is_forgotten(tmp_path: Path) -> None:
    """A Cluster's slots are cut in another way after it was found again, and then its shards have other names."""
    client: Any = Shards({"0": b"ours", "1": b"theirs"})
    deployment: Any = SimpleNamespace(id="ours", name="", epoch="")
    journal: Any = SimpleNamespace(has_journal=True)
    lease: Any = None
    membership = Membership(client=client, journal=journal, deployment=deployment, key_names=NAMES, lease=lease)
    await membership.look_at_all()
    assert membership.is_foreign
    client.ids = {"0": b"ours", "2": b"ours"}
    await membership.look_at_all()
    assert not membership.is_foreign
