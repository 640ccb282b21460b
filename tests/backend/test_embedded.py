"""The embedded server keeps its data, runs once per folder, and leaves no orphan process."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from stateroom.backend import embedded
from stateroom.backend.client import RedisClient
from stateroom.backend.embedded import EmbeddedServer, embedded_client, find_server, try_lock
from stateroom.drills.node import until
from stateroom.errors import SettingsError
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ..processes import said_of


def client_on(folder: Path) -> RedisClient:
    return embedded_client(Settings(_env_file=None, state_dir=folder), Metrics())


def server_on(folder: Path) -> EmbeddedServer:
    binary = find_server()
    assert binary is not None
    return EmbeddedServer(folder, binary)


async def test_data_is_kept_over_a_restart(tmp_path: Path) -> None:
    for seen in (None, b"1"):
        client = client_on(tmp_path / "var")
        await client.start()
        assert await client.execute("k", "GET", "k") == seen
        await client.execute("k", "SET", "k", "1")
        await client.aclose()


async def test_state_is_its_owners_only(tmp_path: Path) -> None:
    client = client_on(tmp_path / "var")
    await client.start()
    await client.aclose()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").iterdir()}
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    assert modes["valkey.password"] == 0o600
    assert modes["valkey.conf"] == 0o600


async def test_a_second_client_uses_the_server_that_runs(tmp_path: Path) -> None:
    first, second = client_on(tmp_path), client_on(tmp_path)
    await first.start()
    await second.start()
    await first.execute("k", "SET", "k", "1")
    assert await second.execute("k", "GET", "k") == b"1"
    await second.aclose()
    assert await first.execute("k", "PING") == b"PONG"
    await first.aclose()


async def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    server = server_on(tmp_path)
    await server.start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def is_another() -> bool:
        return server.pid != first and server.socket_path.exists()

    await until(is_another, "the server runs again", seconds=10)
    await server.stop()


async def test_the_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio, pathlib, sys
from stateroom.backend.embedded import EmbeddedServer, find_server
async def main():
    server = EmbeddedServer(pathlib.Path(sys.argv[1]), find_server())
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()

    async def is_gone() -> bool:
        stat = said_of(child, "stat").split()
        return not stat or stat[2] == b"Z"

    await until(is_gone, "the child ends", seconds=10)


async def test_nothing_is_loaded_between_fork_and_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread of the parent may hold the loader's lock. In the child nobody would release it."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loaded in the child")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "", preexec_fn=embedded.die_with_parent)
    assert await process.wait() == 0


async def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    client = client_on(deep)
    await client.start()
    assert await client.execute("k", "PING") == b"PONG"
    await client.aclose()


async def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"valkey\.log says why"):
        await EmbeddedServer(tmp_path, "/bin/false").start()


async def test_without_any_server_fakeredis_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    client = client_on(tmp_path)
    await client.start()
    await client.execute("k", "SET", "k", "1")
    assert await client.execute("k", "GET", "k") == b"1"
    await client.aclose()


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    held = try_lock(tmp_path / "lock")
    assert held is not None
    assert try_lock(tmp_path / "lock") is None
    held.close()
    again = try_lock(tmp_path / "lock")
    assert again is not None
    again.close()
