"""Starts and stops the measured processes, waits for them and reads their CPU time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
BARE_PORT, SERVICE_PORT = 8191, 8192
CREDENTIALS = b'{"email": "demo@example.com", "password": "password123"}'
READY_SECONDS = 30.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class NotRunning(Exception):
    """A row cannot be measured. The message has the reason and, if there is one, the fix."""


@contextlib.contextmanager
def bare_handler(port: int = BARE_PORT) -> Iterator[int]:
    """Run the bare aiohttp handler. Yields its process id."""
    with running([sys.executable, str(HERE / "bare.py"), str(port)]) as process:
        wait_for(process, port, "/api/auth/check")
        yield process.pid


@contextlib.contextmanager
def service(
    folder: Path, *, command: Sequence[str] = (), arguments: Sequence[str] = (), port: int = SERVICE_PORT, **settings: str
) -> Iterator[tuple[int, int]]:
    """Run the service with its embedded server. Yields their process ids. `command`: replaces `stateroom serve`."""
    environment = {"STATE_DIR": str(folder / "var"), "PORT": str(port), "LOG_LEVEL": "warning", **settings}
    with running([*(command or [sys.executable, "-m", "stateroom", "serve"]), *arguments], environment) as process:
        wait_for(process, port, "/livez")
        yield process.pid, descendants(process.pid)[0]


def sign_in(port: int = SERVICE_PORT, path: str = "/api/auth/login", credentials: bytes = CREDENTIALS) -> str:
    """Sign in. Returns the session's cookie."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=credentials, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return str(response.headers["Set-Cookie"]).split(";")[0]


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process inside this context. Its output goes to `log`."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log is not None else subprocess.DEVNULL
        process = subprocess.Popen(command, env=os.environ | (environment or {}), stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def wait_for(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    """Wait until the process answers on its port, with any status. Raises `NotRunning`."""
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = f"it ended with status {process.returncode}" if process.returncode is not None else "it does not answer"
    raise NotRunning(f"{said} (port {port})")


def descendants(pid: int) -> list[int]:
    """The descendants of a process, oldest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # The process has ended.
            children.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
    found, open_ = [], [pid]
    while open_:
        started = children.get(open_.pop(), [])
        found += started
        open_ += started
    return sorted(found)


def cpu_seconds(pid: int) -> float:
    """CPU seconds that all threads of a process have used, in user and in kernel mode."""
    fields = _fields(Path(f"/proc/{pid}/stat"))
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _fields(stat: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third on. The second field is a name, which may contain spaces."""
    return stat.read_text().rsplit(")", 1)[1].split()
