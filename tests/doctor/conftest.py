"""Stacks for the doctor to examine: the shipped one, one with many faults, and one with TLS."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trustme

from stateroom.backend.dial import Dialer, Tls
from stateroom.doctor import replication
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Finding, Level
from stateroom.doctor.stores import Administrator
from stateroom.drills import topology
from stateroom.drills.node import Node, running, server_binary, until
from stateroom.drills.ports import LOOPBACK, free_port
from stateroom.drills.stack import Stack, stack
from stateroom.drills.topology import SERVICE_NAME, SentinelSetup
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames
from stateroom.settings import Settings

from ..conftest import require_tool
from ..patience import wait_until
from ..servers import ServerThread

TLS_NAME = "redis.example.com"
BAD, SEEN = {Level.FAULT, Level.WARNING}, {Level.FAULT, Level.WARNING, Level.UNSEEN}

PATIENT = {"_env_file": None, "redis_dial_timeout": 1.5, "redis_read_timeout": 1.5}
"""A long time-out: these tests look for faults, and a busy machine is none."""


def patient(**values: Any) -> Settings:
    """Settings with long time-outs, without a user database."""
    return Settings(**{**PATIENT, "cookie_keys": new_key(), "database_url": "none", **values})


async def found(settings: Settings, admin: Administrator | None = None) -> list[Finding]:
    """The findings that are not ok."""
    return [finding for finding in (await examine(settings, admin)).findings if finding.level in BAD]


async def only(settings: Settings, check: str, admin: Administrator | None = None) -> Finding:
    """The only finding that is not ok, which must have this name."""
    findings = await found(settings, admin)
    assert [finding.check for finding in findings] == [check], findings
    return findings[0]


@dataclass
class Good:
    """A stack with the shipped configuration, and a worker of the service that has claimed its stores."""

    thread: ServerThread
    stack: Stack

    @property
    def settings(self) -> Settings:
        return self.with_settings()

    @property
    def admin(self) -> Administrator:
        dialer = self.stack.nodes[0].dialer
        assert dialer is not None
        return Administrator(dialer.username or "", dialer.password or "")

    def with_settings(self, **values: Any) -> Settings:
        environment = dict(self.stack.workers[0].environment)
        taken = {name.lower(): value for name, value in environment.items() if name != "PYTHONPATH"}
        return Settings(**(PATIENT | taken | values))

    def call(self, node: Node, *command: str | int) -> Any:
        return self.thread.run(node.call(*command))

    @contextlib.contextmanager
    def configured(self, node: Node, **values: str) -> Iterator[None]:
        """CONFIG SET, undone at the end."""
        names = {name.replace("_", "-"): value for name, value in values.items()}
        before = {name: self.call(node, "CONFIG", "GET", name)[name.encode()].decode() for name in names}
        try:
            for name, value in names.items():
                self.call(node, "CONFIG", "SET", name, value)
            yield
        finally:
            for name, value in before.items():
                self.call(node, "CONFIG", "SET", name, value)


@pytest.fixture(scope="module")
def thread() -> Iterator[ServerThread]:
    # A replica waits for its disk, which other tests may keep busy for seconds. So lags are tested in
    # test_servers_facts.py.
    with mock.patch.multiple(replication, LAG_WARNING_SECONDS=60, LAG_FAULT_SECONDS=60), ServerThread() as made:
        yield made


@pytest.fixture(scope="module")
def good(thread: ServerThread, tmp_path_factory: pytest.TempPathFactory) -> Good:
    made = Good(thread, thread.start(stack(tmp_path_factory.mktemp("good"), workers=1)))
    name = KeyNames(made.settings.redis_key_prefix).fleet("")
    wait_until(lambda: made.call(made.stack.nodes[0], "GET", name) is not None, "the worker has claimed its stores")
    return made


@dataclass
class FaultyStack:
    """Servers without the shipped configuration. `lone`: the server that one Sentinel believes to be the primary."""

    primary: Node
    hidden: Node
    lone: Node
    sentinels: list[Node]

    def settings(self, **values: Any) -> Settings:
        return sentinel_settings(self.sentinels, **values)


def sentinel_settings(sentinels: list[Node], **values: Any) -> Settings:
    own = PATIENT | {
        "redis_sentinels": ", ".join(str(each.address) for each in sentinels),
        "database_url": "none",
        "cookie_keys": new_key(),
    }
    return Settings(**(own | values))


@contextlib.asynccontextmanager
async def _faulty(folder: Path) -> AsyncIterator[FaultyStack]:
    """Start a stack: a replica announces an address where nothing listens, one of three Sentinels watches another primary."""
    binary = server_binary()
    primary = Node(folder / "primary", binary)
    announced = {"replica-announce-ip": "127.0.0.9", "replica-announce-port": str(free_port())}
    hidden = Node(folder / "hidden", binary, options={"replicaof": f"{primary.host} {primary.port}", **announced})
    lone = Node(folder / "lone", binary)
    watch = [
        Node(folder / f"sentinel-{number}", binary, is_sentinel=True, lines=_watching(lone if number == 2 else primary))
        for number in range(3)
    ]

    async def is_known() -> bool:
        for sentinel in watch[:2]:
            seen = await sentinel.call("SENTINEL", "MASTER", SERVICE_NAME)
            [replica] = await sentinel.call("SENTINEL", "REPLICAS", SERVICE_NAME) or [{}]
            if seen[b"num-other-sentinels"] != b"1" or b"down" not in replica.get(b"flags", b""):
                return False
        return b"state=online" in await primary.call("INFO", "replication")

    async with running([primary, hidden, lone]), running(watch):
        await until(is_known, "two Sentinels know each other and the address that is announced")
        yield FaultyStack(primary, hidden, lone, watch)


def _watching(node: Node) -> list[str]:
    return [
        f"sentinel monitor {SERVICE_NAME} {node.host} {node.port} 2",
        f"sentinel down-after-milliseconds {SERVICE_NAME} 500",
    ]


@pytest.fixture(scope="module")
def faulty(thread: ServerThread, tmp_path_factory: pytest.TempPathFactory) -> FaultyStack:
    return thread.start(_faulty(tmp_path_factory.mktemp("faulty")))


@dataclass
class Secured:
    """Servers and Sentinels that accept only TLS, with their own ACL users."""

    setup: SentinelSetup
    values: Mapping[str, Any]

    def settings(self, **values: Any) -> Settings:
        return sentinel_settings(self.setup.sentinels, **(dict(self.values) | values))


@pytest.fixture(scope="module")
def secured(thread: ServerThread, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """Start the stack with Debian's Redis: the embedded server has no TLS."""
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    certificate = authority.issue_cert(TLS_NAME)
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    passwords = {name: secrets.token_hex(8) for name in ("admin", "app", "asker")}
    admin = f"user default on >{passwords['admin']} ~* &* +@all"

    def dialer() -> Dialer:
        return Dialer(2, 5, password=passwords["admin"], tls=Tls.of("REDIS_TLS", files["ca"], None, None, TLS_NAME))

    setup = thread.start(
        topology.sentinels(
            folder / "nodes", binary=require_tool("redis-server"), tls_files=files, dialer=dialer(), sentinel_dialer=dialer(),
            server_options={"min-replicas-to-write": "1", "appendonly": "yes"},
            server_lines=[admin, f"user app on >{passwords['app']} ~session:* &* +@all", f"masterauth {passwords['admin']}"],
            sentinel_lines=[
                admin, f"user asker on >{passwords['asker']} &* +sentinel +subscribe +hello +ping +auth",
                f"sentinel auth-pass {SERVICE_NAME} {passwords['admin']}", f"sentinel sentinel-pass {passwords['admin']}",
            ],
        )
    )  # fmt: skip
    values = {
        "redis_tls": True, "redis_tls_ca": files["ca"], "redis_tls_server_name": TLS_NAME,
        "redis_username": "app", "redis_password": passwords["app"],
        "redis_sentinel_username": "asker", "redis_sentinel_password": passwords["asker"],
    }  # fmt: skip
    return Secured(setup, values)


@contextlib.contextmanager
def paused(node: Node) -> Iterator[None]:
    """The server hangs: it accepts connections and answers nothing."""
    node.pause()
    try:
        yield
    finally:
        node.resume()


@pytest.fixture
def free_address() -> str:
    """An address where nothing listens."""
    return f"{LOOPBACK}:{free_port()}"
