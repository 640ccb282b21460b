"""Runs a new Valkey server on loopback. Each row has its own, so that it does not see another row's keys."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from stateroom.backend.embedded import find_server
from stateroom.drills.ports import free_port

from .processes import NotRunning, running

OWN_QUESTIONS = {"cmdstat_info", "cmdstat_ping"}


@dataclass(frozen=True)
class Valkey:
    pid: int
    port: int

    def commands(self) -> int:
        with redis.Redis(port=self.port) as client:
            return answered(client)


def answered(client: redis.Redis) -> int:
    """How many commands a server has answered, including those in scripts, without the ones that ask for this number."""
    stats = client.info("commandstats")
    assert isinstance(stats, dict)
    return sum(int(of["calls"]) for name, of in stats.items() if name not in OWN_QUESTIONS)


@contextlib.contextmanager
def valkey() -> Iterator[Valkey]:
    """Run a server that writes nothing to disk, because disks are not compared. Raises `NotRunning`."""
    binary = find_server()
    if binary is None:
        raise NotRunning("no Valkey server is installed: make .venv/.installed-dev")
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder, running([*command, "--dir", folder], log=Path(folder) / "log") as process:
        with redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)) as client:
            client.ping()
        yield Valkey(process.pid, port)
