"""What the figures were taken on: without it they say nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from stateroom.backend.embedded import find_server

from .processes import HERE

PACKAGES = ("aiohttp", "uvloop", "redis", "hiredis")
PROGRAMS = {
    "wrk": ["wrk", "--version"],
    "node": ["node", "--version"],
    "go": ["go", "version"],
    "commit": ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
}


def describe() -> dict[str, str]:
    """The machine and the versions, one fact a name; what is not there is left out."""
    server = find_server()
    facts = {
        "cores": f"{os.cpu_count()} x {_cpu_model()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        **{name: _version(command) for name, command in PROGRAMS.items()},
        "valkey": _version([server, "--version"]) if server else "",
    }
    return {name: fact for name, fact in facts.items() if fact}


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    line = (done.stdout or done.stderr).strip().splitlines()[:1]
    found = re.search(r"v=([\d.]+)|(?:\b|[a-z])(\d+(?:\.\d+)+)", line[0]) if line else None
    return next(filter(None, found.groups())) if found else "".join(line)


def _cpu_model() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()
