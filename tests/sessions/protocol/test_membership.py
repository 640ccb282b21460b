"""One deployment, one journal: a second host with a database of its own does not start."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import stateroom
from stateroom import SettingsError
from stateroom.drills.node import until
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
