"""The runbook's commands work: its shell functions, and the names of events that it looks for."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from stateroom.backend.dial import Dialer
from stateroom.drills.node import Node, server_binary

from ..conftest import require_tool
from ..documents import examples, page
from .promql import ROOT, alerts

FUNCTIONS = examples("runbook.md", "sh")[0]
EVENTS = sorted(set(re.findall(r"\bevent (\w+)", page("runbook.md"))) - {"NAME"})


def run(script: str, folder: Path) -> str:
    """The output of a script that has the runbook's functions. Instead of redis-cli it runs a program that prints its words."""
    path = folder / "redis-cli"
    path.write_text('#!/bin/sh\necho "${REDISCLI_AUTH:-none} $@"\necho 6379\n', encoding="utf-8")
    path.chmod(0o755)
    done = subprocess.run(
        ["sh", "-eu", "-c", f'PATH="{folder}:$PATH"\n{FUNCTIONS}\n{script}'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_redis_and_sentinel_are_asked_with_the_users_that_they_know(tmp_path: Path) -> None:
    assert run("redis 10.0.0.7 INFO replication", tmp_path).startswith("PASSWORD --user admin -h 10.0.0.7 INFO replication\n")
    assert run("sentinel 10.0.0.7 PING", tmp_path).startswith("none -p 26379 -h 10.0.0.7 PING\n")
    assert run("primary", tmp_path) == "none -p 26379 -h 10.0.0.1 SENTINEL get-master-addr-by-name mymaster\n"


def test_one_kind_of_log_line_is_found_among_others(tmp_path: Path) -> None:
    require_tool("jq")
    lines = ['{"event": "worker_died", "status": 9}', "a line that is not JSON", '{"event": "redis_failover"}']
    found = run("logs() { printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + "; }\nevent worker_died", tmp_path)
    assert found == '{"event":"worker_died","status":9}\n'


@pytest.mark.parametrize("event", EVENTS)
def test_events_that_it_looks_for_are_logged(event: str) -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert any(f'"{event}"' in source for source in sources)


def test_the_contents_have_every_alert_under_its_severity() -> None:
    contents = page("runbook.md").partition("## How to look")[0]
    for severity in ("critical", "warning", "info"):
        table = contents.partition(f"**{severity}: ")[2].partition("\n\n**")[0]
        listed = set(re.findall(r"^\| \[(\w+)\]", table, re.MULTILINE))
        assert listed == {name for name, rule in alerts().items() if rule["labels"]["severity"] == severity}


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_a_section_says_how_severe_its_alert_is(alert: str) -> None:
    section = page("runbook.md").partition(f"## {alert}\n")[2].partition("\n## ")[0]
    assert section.strip().startswith(f"**{alerts()[alert]['labels']['severity']}.**")
    for part in ("**Users notice:**", "**Look:**", "**Do:**", "**The alert resolves**"):
        assert part in section


def asked_of_redis() -> list[list[str]]:
    """The commands that the page sends to Redis, in words. Options of redis-cli, such as `--latency`, are left out."""
    text = page("runbook.md").partition("### First questions")[2]
    found = re.findall(r"^ *redis (?:[A-Z]+|\"\$\(primary\)\") ([A-Z].*)$", text, re.MULTILINE)
    return [shlex.split(line.partition(" | ")[0]) for line in found]


def add_administrator(folder: Path) -> str:
    """Do what the page says with the shipped `users.acl`. Returns the password."""
    require_tool("openssl")
    (folder / "users.acl").write_text((ROOT / "deploy" / "users.acl").read_text(encoding="utf-8"), encoding="utf-8")
    lines = re.search(r"^   (password=.*)\n   (echo \"user admin .*)$", page("runbook.md"), re.MULTILINE)
    assert lines is not None
    script = "\n".join(lines.groups())
    return subprocess.run(["sh", "-euc", script], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_its_administrator_may_run_its_commands_and_no_flush(tmp_path: Path, kind: str) -> None:
    """The user that the page tells to add to the shipped `users.acl`, on a real server."""
    admin = Dialer(2.0, 5.0, username="admin", password=add_administrator(tmp_path))
    (tmp_path / "data").mkdir()
    options = {"dir": str(tmp_path / "data"), "aclfile": str(tmp_path / "users.acl"), "min-replicas-to-write": "0"}
    binary = server_binary() if kind == "valkey" else require_tool("redis-server")
    server = Node(tmp_path, binary, options=options, dialer=admin, shipped=ROOT / "deploy" / "redis.conf")
    await server.start()
    try:
        assert len(asked_of_redis()) > 30
        for words in asked_of_redis():
            assert await server.call("ACL", "DRYRUN", "admin", *words) == b"OK", words
        for words in ["FLUSHALL"], ["FLUSHDB"]:
            assert await server.call("ACL", "DRYRUN", "admin", *words) != b"OK", words
        assert await server.call("ACL", "DRYRUN", "stateroom", "ACL", "LOG") != b"OK"
        assert await server.call("ACL", "SETUSER", "stateroom", ">NEW") == b"OK"
        assert await server.call("ACL", "SAVE") == b"OK"
        assert await server.call("ACL", "LOAD") == b"OK"
    finally:
        await server.stop()
