"""The conditions of a drill: when it ran, which versions took part, and on which machine. A figure means little without them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..backend.embedded import find_server
from ..plurals import counted

ROOT = Path(__file__).parents[3]
"""The repository, if Stateroom runs from one."""
ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and when a drill ran.

    `started`: in UTC. `stateroom`: the version, with the git revision if it runs from a repository. `server`: the product and
    the version, empty if the drill did not start the servers. `peer`: its name and version, empty if it was not drilled.
    `system`: the operating system and its kernel. `load`: the load average of one minute at the start. `target`: the URL of a
    stack that the drill did not start, else empty.
    """

    started: datetime
    stateroom: str
    python: str
    server: str
    peer: str
    system: str
    processor: str
    cores: int
    load: float
    target: str = ""

    def rows(self) -> list[tuple[str, str]]:
        """A name and a text for each condition that is known."""
        found = [
            ("Started", f"{self.started:%Y-%m-%d %H:%M:%S} UTC"),
            ("Service", f"{self.target} (the drill does not know its version and its machine)" if self.target else ""),
            ("Stateroom", self.stateroom),
            ("Compared with", self.peer),
            ("Server", self.server),
            ("Python", self.python),
            ("System", self.system),
            ("Processor", f"{self.processor}, {counted(self.cores, 'core')}"),
            ("Load average at the start", f"{self.load:.2f} (1 minute)"),
        ]
        return [(name, text) for name, text in found if text]

    def figures(self) -> dict[str, object]:
        """The conditions for `drill.json`. An unknown condition is null."""
        return {
            "started": self.started.strftime("%Y-%m-%dT%H:%M:%SZ"), "target": self.target or None, "stateroom": self.stateroom,
            "peer": self.peer or None, "server": self.server or None, "python": self.python, "system": self.system,
            "processor": self.processor, "cores": self.cores, "load": round(self.load, 2),
        }  # fmt: skip


def conditions(*, peer: str = "", target: str = "") -> Conditions:
    """The present conditions. `peer`: the distribution's name, if it is drilled too. `target`: the URL of a running stack."""
    return Conditions(
        datetime.now(UTC), __version__ + _revision(), platform.python_version(), "" if target else _server(),
        f"{peer} {_installed(peer)}" if peer else "", _system(), _processor(), os.cpu_count() or 1, os.getloadavg()[0], target,
    )  # fmt: skip


def _installed(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def _revision() -> str:
    """The revision in brackets, with `-dirty` if files were changed since; empty if this is not a git repository."""
    if not (ROOT / ".git").exists():
        return ""
    said = _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    return f" ({said})" if said else ""


def _server() -> str:
    """For example `Valkey 9.1.2`; empty if the server does not tell it."""
    binary = find_server()
    found = re.search(r"(\w+) server v=(\S+)", _said([binary, "--version"])) if binary else None
    return f"{found[1]} {found[2]}" if found else ""


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _processor() -> str:
    """The processor's model, or its architecture if the system does not tell the model."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _said(command: Sequence[str]) -> str:
    """The output of a command; empty if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)  # noqa: S603 (our own words)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
