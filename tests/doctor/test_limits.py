"""The doctor ends in time, whatever does not answer, and says what it waited for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stateroom.doctor import examine as examination
from stateroom.doctor.findings import Level
from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings

from ..commands import environment
from ..network.name_server import NameServer, need_namespaces
from ..relays import BaseRelay

PATIENCE_SECONDS = 30.0
"""Far more than a run takes on a busy machine, and less than the limit of a whole run."""


class Silent(BaseRelay):
    """Accepts connections, and never answers."""

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[Address]:
    async with Silent() as relay:
        yield relay.at


SILENT: list[tuple[dict[str, Any], set[str]]] = [
    ({"redis_url": "redis://AT"}, {"server-unreachable"}),
    ({"redis_url": "rediss://AT"}, {"server-unreachable"}),
    ({"redis_sentinels": "AT"}, {"sentinel-unreachable", "no-sentinel"}),
    ({"redis_sentinels": "AT", "redis_sentinel_tls": True}, {"sentinel-unreachable", "no-sentinel"}),
    ({"redis_cluster_nodes": "AT"}, {"server-unreachable"}),
    *(
        ({"redis_sentinels": "AT", "database_url": url}, {"sentinel-unreachable", "no-sentinel", "database-away"})
        for url in ("postgresql://AT/a", "postgresql://AT/a?sslmode=require", "postgresql://AT,AT/a?target_session_attrs=primary")
    ),
]


@pytest.mark.parametrize(("given", "checks"), SILENT, ids=[" ".join(map(str, given.values())) for given, _ in SILENT])
async def test_a_server_that_accepts_and_never_answers_is_a_fault(given: dict[str, Any], checks: set[str], silent: Address) -> None:
    placed = {name: value.replace("AT", str(silent)) if isinstance(value, str) else value for name, value in given.items()}
    settings = Settings(**({"_env_file": None, "cookie_keys": new_key(), "database_url": "none"} | placed))
    async with asyncio.timeout(PATIENCE_SECONDS):
        report = await examination.examine(settings)
    assert {each.check for each in report.findings if each.level is Level.FAULT} == checks


async def test_a_run_that_takes_too_long_says_what_it_waited_for(silent: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit that is shorter than those of its steps. What was found before is told too."""
    monkeypatch.setattr(examination, "RUN_SECONDS", 1.0)
    refused = f"127.0.0.1:{free_port()}"
    settings = Settings(
        _env_file=None, cookie_keys=new_key(), redis_host="127.0.0.1", redis_port=refused.rpartition(":")[2], redis_mode="single",
        database_url=f"postgresql://{silent}/a", journal_lease=2,
    )  # fmt: skip
    report = await examination.examine(settings)
    first, second = report.findings
    assert (first.check, first.level, first.where) == ("unfinished", Level.FAULT, "Doctor")
    assert "It waited for: the user database." in first.what
    assert (second.check, second.where) == ("server-unreachable", f"Server {refused}")
    assert not report.is_good

    slow = Settings(
        _env_file=None, cookie_keys=new_key(), redis_sentinels=str(silent), database_url="none", redis_dial_timeout=5,
        redis_read_timeout=5,
    )  # fmt: skip
    report = await examination.examine(slow)
    assert f"It waited for: Sentinel {silent}." in report.findings[0].what


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_a_name_server_that_never_answers_does_not_keep_the_command_from_ending(name: str, tmp_path: Path) -> None:
    """A look-up in the system's threads hangs for 150 s then, and a command waits for its threads at the end."""
    need_namespaces()
    with NameServer({}) as dns:
        dns.silent.add("hangs.test")
        given = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}", "DATABASE_URL": "none", "COOKIE_KEYS": new_key()}
        given[name] = "redis://hangs.test" if name == "REDIS_URL" else "postgresql://hangs.test/a"
        done = subprocess.run(
            [*dns.launcher(tmp_path / "inside"), sys.executable, "-m", "stateroom", "doctor"],
            env=environment(tmp_path, {**given, "RES_OPTIONS": "timeout:30 attempts:5"}), cwd=tmp_path, capture_output=True,
            text=True, timeout=100, check=False,
        )  # fmt: skip
        assert dns.was_asked("hangs.test")
    assert done.returncode == 1, done.stderr
    assert ("[database-away]" if name == "DATABASE_URL" else "DNS does not answer for the name hangs.test") in done.stdout


def test_a_look_at_a_file_that_hangs_does_not_keep_the_command_from_ending(tmp_path: Path) -> None:
    """A file on a network drive that does not answer blocks the event loop, so no time-out of the loop ends the wait."""
    program = """
import importlib, threading
from stateroom.cli import app
from stateroom.doctor import database, examine
doctor = importlib.import_module("stateroom.cli.doctor")  # stateroom.cli has a function with this name too
doctor.RUN_SECONDS = examine.RUN_SECONDS = 1.0
database._exists = lambda path: threading.Event().wait()
app()
"""
    given: dict[str, object] = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "DATABASE_URL": f"sqlite:///{tmp_path}/a.db",
        "COOKIE_KEYS": new_key(),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor"],
        env=environment(tmp_path, given), cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "the user database" in done.stdout
    assert "[unfinished]" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("1 fault, ")
