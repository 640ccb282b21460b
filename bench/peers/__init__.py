"""Installs the peers on demand and says how to run each. Raises `NotRunning` if a peer cannot be installed.

Python packages are pinned with hashes in `requirements.txt`, and have their own environment. Node packages are pinned in
`package.json`. Go and its modules are Debian's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ..processes import NotRunning

HERE = Path(__file__).parent
DEBIAN_GO_MODULES = Path("/usr/share/gocode")
GO_PACKAGES = "golang-go golang-github-gin-gonic-gin-dev golang-github-boj-redistore-dev"


def aiohttp_session(port: int, redis_port: int) -> Sequence[str]:
    return [python(), str(HERE / "aiohttp_session_app.py"), str(port), str(redis_port)]


def aiohttp_session_renewing(port: int, redis_port: int) -> Sequence[str]:
    return [*aiohttp_session(port, redis_port), "renew"]


def starsessions(port: int, redis_port: int) -> Sequence[str]:
    return [python(), str(HERE / "starsessions_app.py"), str(port), str(redis_port)]


def express_session(port: int, redis_port: int) -> Sequence[str]:
    return [node(), str(HERE / "express.js"), str(port), str(redis_port)]


def gin(port: int, redis_port: int) -> Sequence[str]:
    return [go_program(), f"127.0.0.1:{port}", f"127.0.0.1:{redis_port}"]


@cache
def python() -> str:
    """Install the Python peers' environment. Returns its interpreter."""
    interpreter = HERE / ".venv" / "bin" / "python"
    if _is_stale(made := HERE / ".venv" / "made", HERE / "requirements.txt"):
        _make("python -m venv", [sys.executable, "-m", "venv", "--clear", str(HERE / ".venv")])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _make("pip install", [*pip, "--require-hashes", "-r", str(HERE / "requirements.txt")])
        made.touch()
    return str(interpreter)


@cache
def node() -> str:
    """Install the Node packages. Returns the path of Node."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise NotRunning("node or npm is missing: apt-get install nodejs npm")
    if _is_stale(made := HERE / "node_modules" / ".made", HERE / "package.json"):
        # A lock file would contain the addresses of a registry.
        _make("npm install", [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])
        made.touch()
    return program


@cache
def go_program() -> str:
    """Build the Go peer from Debian's packages alone. Returns the program."""
    go = shutil.which("go")
    if go is None or not (DEBIAN_GO_MODULES / "src/github.com/boj/redistore").exists():
        raise NotRunning(f"Go or its modules are missing: apt-get install {GO_PACKAGES}")
    program = HERE / "gin" / ".built"
    if _is_stale(program, HERE / "gin" / "main.go"):
        offline = {"GO111MODULE": "off", "GOPATH": str(DEBIAN_GO_MODULES), "GOFLAGS": ""}
        _make("go build", [go, "build", "-o", str(program), str(HERE / "gin" / "main.go")], offline)
    return str(program)


def _is_stale(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime


def _make(step: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run one step of an installation. Raises `NotRunning` with the last line of its output."""
    print(f"bench: {step} for the peers ...", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=HERE, env=os.environ | (environment or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotRunning(f"{step} failed: {said[-1] if said else done.returncode}")
