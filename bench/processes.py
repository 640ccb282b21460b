"""What is measured, as processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
BARE_PORT, SERVICE_PORT = 8191, 8192
CREDENTIALS = b'{"email": "demo@example.com", "password": "password123"}'


@contextlib.contextmanager
def bare_handler() -> Iterator[int]:
    """A bare aiohttp handler: its process id."""
    with _running([sys.executable, str(HERE / "bare.py"), str(BARE_PORT)], {}) as process:
        _wait_for(BARE_PORT, "/api/auth/check")
        yield process.pid


@contextlib.contextmanager
def service(
    folder: Path, *, command: Sequence[str] = (), arguments: Sequence[str] = (), port: int = SERVICE_PORT, **settings: str
) -> Iterator[tuple[int, int]]:
    """The service with its embedded server: their process ids. `command`: what to run in place of `stateroom serve`."""
    environment = {"STATE_DIR": str(folder / "var"), "PORT": str(port), "LOG_LEVEL": "warning", **settings}
    with _running([*(command or [sys.executable, "-m", "stateroom", "serve"]), *arguments], environment) as process:
        _wait_for(port, "/livez")
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        yield process.pid, int(children.stdout.split()[0])


def sign_in(port: int = SERVICE_PORT) -> str:
    """A signed-in session's cookie."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/auth/login", data=CREDENTIALS, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return str(response.headers["Set-Cookie"]).split(";")[0]


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, path: str) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
            return
        time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")
