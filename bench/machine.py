"""Describes the machine of a run. Figures of different machines cannot be compared."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

from stateroom.drills.conditions import conditions

from .processes import TICKS_PER_SECOND, cpu_seconds

BUSY = 0.05
"""The share of the machine that other processes may take. Above it the figures depend on them."""
PACKAGES = ("aiohttp", "uvloop", "redis", "hiredis")
PROGRAMS = {
    "wrk": ["wrk", "--version"],
    "node": ["node", "--version"],
    "go": ["go", "version"],
}


def describe() -> dict[str, str]:
    """The machine and the versions of its programs, by name. Programs that are not installed are left out."""
    made = conditions()
    facts = {
        "cores": f"{made.cores} x {made.processor}",
        "system": made.system,
        "stateroom": made.stateroom,
        "server": made.server,
        "python": made.python,
        **{name: metadata.version(name) for name in PACKAGES},
        **{name: _version(command) for name, command in PROGRAMS.items()},
    }
    return {name: fact for name, fact in facts.items() if fact}


@dataclass(frozen=True)
class Spent:
    """CPU seconds of the whole machine, and of a run's own processes, until now."""

    at: float
    machine: float
    own: float

    @classmethod
    def now(cls, pids: Iterable[int]) -> Self:
        """Read the CPU seconds. `pids`: the measured processes. This process and ended wrk runs also count as the run's own."""
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        own = ours + sum(map(cpu_seconds, pids))
        return cls(time.monotonic(), (user + nice + system + sum(interrupts)) / TICKS_PER_SECOND, own)

    def by_others(self, since: Spent) -> float:
        """The share of the machine that other processes have used since then, from 0 to 1."""
        others = (self.machine - since.machine) - (self.own - since.own)
        return max(others, 0.0) / ((self.at - since.at) * (os.cpu_count() or 1))


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    line = (done.stdout or done.stderr).strip().splitlines()[:1]
    found = re.search(r"v=([\d.]+)|(?:\b|[a-z])(\d+(?:\.\d+)+)", line[0]) if line else None
    return next(filter(None, found.groups())) if found else "".join(line)
