"""The shipped ACL users: which may sign in, and that a server of each kind can load its own log with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import RedisError

from stateroom.backend.dial import Dialer
from stateroom.drills.node import Node, server_binary

from ..conftest import require_tool
from .promql import ROOT


def node(folder: Path, binary: str) -> Node:
    (folder / "data").mkdir()
    users = (ROOT / "deploy" / "users.acl").read_text(encoding="utf-8")
    (folder / "users.acl").write_text(users.replace("user stateroom on resetpass", "user stateroom on resetpass >secret"))
    options = {"dir": str(folder / "data"), "aclfile": str(folder / "users.acl"), "min-replicas-to-write": "0"}
    dialer = Dialer(2.0, 5.0, username="stateroom", password="secret")
    return Node(folder, binary, options=options, dialer=dialer, shipped=ROOT / "deploy" / "redis.conf")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_what_a_script_wrote_is_read_back_from_the_log(tmp_path: Path, kind: str) -> None:
    """Redis 7.0 loads the log with the rights of the default user, although that user is off."""
    server = node(tmp_path, server_binary() if kind == "valkey" else require_tool("redis-server"))
    await server.start()
    try:
        script = "redis.call('SET', KEYS[1], 'x') redis.call('SET', KEYS[2], 'y')"
        await server.call("EVAL", script, 2, "session:{a}:1", "session:{a}:2")
        await server.kill()
        await server.start()
        assert [await server.call("GET", f"session:{{a}}:{number}") for number in (1, 2)] == [b"x", b"y"]
    finally:
        await server.stop()


async def get(dialer: Dialer, server: Node) -> None:
    connection = await dialer.dial(server.address)
    await connection.send_command("GET", "session:{a}:1", check_health=False)
    await connection.read_response()


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_nobody_gets_in_without_a_user_and_a_password(tmp_path: Path, kind: str) -> None:
    server = node(tmp_path, server_binary() if kind == "valkey" else require_tool("redis-server"))
    await server.start()
    try:
        for dialer in (
            Dialer(2.0, 5.0), Dialer(2.0, 5.0, password=""), Dialer(2.0, 5.0, username="default", password="secret"),
            Dialer(2.0, 5.0, username="replica", password="secret"), Dialer(2.0, 5.0, username="stateroom", password="other"),
        ):  # fmt: skip
            with pytest.raises(RedisError):
                await get(dialer, server)
        with pytest.raises(RedisError, match=r"(?i)noperm|permission"):
            await server.call("GET", "another:key")
    finally:
        await server.stop()


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_the_service_may_be_told_of_changes_and_no_more_of_other_clients(tmp_path: Path, kind: str) -> None:
    """`SESSION_CACHE_MAX_AGE` needs CLIENT TRACKING."""
    server = node(tmp_path, server_binary() if kind == "valkey" else require_tool("redis-server"))
    await server.start()
    try:
        assert await server.call("CLIENT", "TRACKING", "ON") == b"OK"
        with pytest.raises(RedisError, match=r"(?i)noperm|permission"):
            await server.call("CLIENT", "LIST")
    finally:
        await server.stop()
