"""The steps of docs/operations.md lead from the shipped files to a running server whose users sign in with their passwords."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from stateroom.backend.dial import Dialer
from stateroom.drills.node import Node

from ..conftest import require_tool
from ..documents import examples, page
from .promql import ROOT


def passwords_made_in(folder: Path) -> dict[str, str]:
    """Run the first step in a copy of the shipped files. Returns the printed passwords, by user."""
    (step,) = [each for each in examples("operations.md", "sh") if "users.acl" in each]
    (folder / "deploy").mkdir()
    for name in ("deploy/redis.conf", "deploy/users.acl", "sentinel.conf"):
        shutil.copy(ROOT / name, folder / name)
    require_tool("openssl")
    done = subprocess.run(["bash", "-euc", step], cwd=folder, env=os.environ, capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def appended(word: str) -> list[str]:
    """The lines that a step appends to a file. `word`: a word that only this step's block has."""
    blocks = page("operations.md").split("```\n")
    (block,) = [each for each in blocks if word in each and each.startswith(("bind ", "dir "))]
    return block.splitlines()


async def test_the_steps_give_a_server_on_which_the_service_signs_in(tmp_path: Path) -> None:
    passwords = passwords_made_in(tmp_path)
    assert passwords.keys() == {"stateroom", "sentinel", "replica"}
    made = tmp_path / "redis"
    users = (made / "users.acl").read_text(encoding="utf-8")
    for user, password in passwords.items():
        assert f"user {user} on resetpass #{hashlib.sha256(password.encode()).hexdigest()} " in users
    lines = dict(line.split(" ", 1) for line in appended("masterauth"))
    assert lines.keys() == {"bind", "replica-announce-ip", "dir", "aclfile", "masterauth"}
    (made / "data").mkdir()
    options = lines | {
        "bind": "127.0.0.1", "replica-announce-ip": "127.0.0.1", "dir": str(made / "data"),
        "aclfile": str(made / "users.acl"), "masterauth": passwords["replica"]
    }  # fmt: skip
    dialer = Dialer(2.0, 5.0, username="stateroom", password=passwords["stateroom"])
    server = Node(made, require_tool("redis-server"), options=options, dialer=dialer, shipped=made / "redis.conf")
    await server.start()
    try:
        assert await server.call("PING") in {b"PONG", "PONG"}
    finally:
        await server.stop()


def test_the_lines_for_sentinels_fit_the_shipped_file() -> None:
    shipped = (ROOT / "sentinel.conf").read_text(encoding="utf-8")
    assert "sentinel monitor mymaster redis-0 6379 2" in shipped
    assert "sentinel auth-user mymaster sentinel" in shipped
    assert appended("sentinel auth-pass") == [
        "dir /var/lib/redis", "sentinel announce-ip 10.0.0.1", "sentinel auth-pass mymaster PASSWORD"
    ]  # fmt: skip
