"""Runs real servers on loopback for drills and tests: a single server, a primary with replicas and Sentinels, a Cluster."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backend.dial import Dialer
from .node import Node, running, server_binary, until
from .ports import free_port

SERVICE_NAME = "mymaster"


@dataclass
class SentinelSetup:
    """A primary, its replicas and their Sentinels."""

    nodes: list[Node]
    sentinels: list[Node]

    @property
    def primary(self) -> Node:
        """The server that began as the primary."""
        return self.nodes[0]

    async def role(self, node: Node) -> str:
        """`master` or `slave`."""
        reply = await node.call("ROLE")
        return str(reply[0].decode())


@contextlib.asynccontextmanager
async def single(folder: Path, *, binary: str | None = None, **node: Any) -> AsyncIterator[Node]:
    """Run one server. `node`: more arguments of `Node`."""
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
    """Run a primary with replicas, and Sentinels that watch it.

    On entry every replica is linked and every Sentinel knows all others. `watchers`: how many Sentinels. `tls_files`: PEM
    files `ca`, `cert` and `key`; then every node accepts only TLS.
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


def cluster_options() -> dict[str, str]:
    """Options of a server that is a node of a Cluster, with a free port for its bus.

    Without one the bus gets the server's port plus 10,000, which an outgoing connection may have taken.
    """
    return {"cluster-enabled": "yes", "cluster-port": str(free_port())}


@contextlib.asynccontextmanager
async def cluster(folder: Path, *, binary: str | None = None, shards: int = 3) -> AsyncIterator[list[Node]]:
    """Run a Cluster with `shards` primaries and as many replicas. The primaries come first."""
    nodes = [
        Node(
            folder / f"node-{number}", binary or server_binary(),
            options={
                **cluster_options(), "cluster-node-timeout": "1500",
                # Otherwise all shards refuse requests while one shard elects a new primary.
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
