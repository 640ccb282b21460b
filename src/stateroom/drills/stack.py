"""What a drill breaks: a primary, two replicas, three Sentinels and the service, as real processes.

Servers and Sentinels start from the shipped files (`deploy/redis.conf`, `deploy/users.acl`, `sentinel.conf`), with
down-after lowered to a second. A relay stands before each of them, and it is the relays' addresses that they
announce, so that all traffic passes there. Each process has a loopback address of its own to connect from, by which
the relays tell the sides of a partition apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from redis.exceptions import RedisError

from ..backend.dial import Dialer
from ..backend.embedded import die_with_parent
from ..sessions.cookie import new_key
from ..settings import Address
from .relay import Relay
from .topology import LOOPBACK, SERVICE_NAME, Node, free_port, running, server_binary, until

SHIPPED = Path(__file__).parents[3]
DOWN_AFTER_MS = 1000
PROBE_SECONDS = 0.005
FILLING_BYTES = 1 << 20
FILLINGS = 24
"""Megabytes that fill the sockets to replicas that are stopped: what comes after does not reach them."""
READY_SECONDS = 30.0
SERVICE_STOP_SECONDS = 15.0


@dataclass
class Worker:
    """One process of the service. `source`: where its connections come from."""

    folder: Path
    source: str
    environment: Mapping[str, str]
    switches: Sequence[str] = ()
    port: int = field(default_factory=free_port)

    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "worker.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stateroom.drills.worker", "--source", self.source, *self.switches,
                cwd=self.folder, env={**os.environ, **self.environment, "PORT": str(self.port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
        await until(self.is_ready, f"{self.url} answers (log: {self.folder}/worker.log)", seconds=READY_SECONDS)

    async def is_ready(self) -> bool:
        assert self._process is not None, "the worker was not started"
        if self._process.returncode is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}: see {self.folder}/worker.log")
        return await self._get("/readyz") is not None

    async def longest_stall(self) -> float:
        """Seconds that its event loop was held up for, at most, since this was asked last."""
        return float(await self._get("/drill/stall") or "nan")

    async def metric(self, sample: str) -> float | None:
        """A figure of its `/metrics`, by name and labels as they stand there."""
        for line in (await self._get("/metrics") or "").splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(SERVICE_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _get(self, path: str) -> str | None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}") as response:
                return await response.text() if response.status == 200 else None
        return None


@dataclass
class Stack:
    """Everything that runs. A relay for each node, in their order: first of the servers, then of the Sentinels."""

    nodes: list[Node]
    sentinels: list[Node]
    relays: list[Relay]
    workers: list[Worker]

    async def primary(self, among: Collection[Node] | None = None) -> Node:
        """The server that the Sentinels name, once it says itself that it is a primary."""
        found: list[Node] = []

        async def is_found() -> bool:
            found[:] = [node for node in (among or self.nodes) if node.is_running and await _role(node) == "master"]
            named = [each for each in [await self._named(sentinel) for sentinel in self.sentinels] if each is not None]
            ports = {self._relay_of(node).at.port: node for node in found}
            believed = [ports[each] for each in set(named) if each in ports and named.count(each) * 2 > len(self.sentinels)]
            found[:] = believed[:1]
            return bool(found)

        await until(is_found, "the Sentinels agree on a primary")
        return found[0]

    async def first_write(self, among: Sequence[Node]) -> tuple[Node, float]:
        """Try to write until one of these servers takes it: which, and when, on the monotonic clock."""
        while True:
            for node in among:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    if await node.call("SET", "drill:probe", 1) == b"OK":
                        return node, time.monotonic()
            await asyncio.sleep(PROBE_SECONDS)

    async def settled(self, workers: Sequence[Worker] | None = None) -> None:
        """Return when these workers, or all, find the store settled."""

        async def is_settled() -> bool:
            return all([await each.metric('stateroom_store_state{state="settled"}') == 1 for each in workers or self.workers])

        await until(is_settled, "the workers find the store settled", seconds=60)

    async def all_well(self) -> None:
        """Return when every server that runs is linked and every worker finds the store settled."""

        async def is_well() -> bool:
            if not all(node.is_running for node in self.nodes):
                return False
            roles = [await _role(node) for node in self.nodes]
            return sorted(roles) == [*["connected"] * (len(self.nodes) - 1), "master"]

        await until(is_well, "all servers are linked", seconds=60)
        await self.settled()

    def hold_replication_back(self, primary: Node) -> list[Node]:
        """Stop the replicas; resume them when the primary is dead, and sooner than down-after."""
        replicas = [node for node in self.nodes if node is not primary and node.is_running]
        for replica in replicas:
            replica.pause()
        return replicas

    async def fill_sockets(self, primary: Node) -> None:
        """Write so much to a primary whose replicas are stopped that what comes after stays with it."""
        filling = "x" * FILLING_BYTES
        for number in range(FILLINGS):
            await primary.call("SET", "drill:filling", f"{number}{filling}")

    def partition(self, nodes: Collection[Node], workers: Collection[Worker]) -> None:
        """Cut these servers, Sentinels and workers off from all the others."""
        everything = [*self.nodes, *self.sentinels]
        here = {_source(node) for node in nodes} | {worker.source for worker in workers}
        there = {_source(node) for node in everything} | {worker.source for worker in self.workers}
        for relay, node in zip(self.relays, everything, strict=True):
            relay.cut((there - here) if node in nodes else here)

    def heal(self) -> None:
        for relay in self.relays:
            relay.heal()

    async def stop_redis(self) -> None:
        """All servers at once, in order, so that their disks are whole. The Sentinels stay."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def start_redis(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))

    def copy_disks(self, to: Path) -> None:
        """Copy the servers' data folders."""
        for node in self.nodes:
            shutil.copytree(_data(node), to / node.folder.name)

    def put_disks_back(self, source: Path) -> None:
        """Replace the servers' data by a copy. They must not run."""
        for node in self.nodes:
            shutil.rmtree(_data(node))
            shutil.copytree(source / node.folder.name, _data(node))

    def _relay_of(self, node: Node) -> Relay:
        return self.relays[[*self.nodes, *self.sentinels].index(node)]

    @staticmethod
    async def _named(sentinel: Node) -> int | None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            named = await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE_NAME)
            return int(named[1])
        return None


@contextlib.asynccontextmanager
async def stack(
    folder: Path,
    *,
    workers: int = 2,
    without: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    database_urls: Sequence[str] = (),
    switches: Mapping[int, Sequence[str]] | None = None,
) -> AsyncIterator[Stack]:
    """Start it all; it is whole when this returns.

    `without`: protections that the workers do without. `switches`: more for `stateroom.drills.worker`, by worker.
    `database_urls`: each worker's way to the users and the journal; one SQLite file in the folder where not given.
    """
    passwords = {user: secrets.token_urlsafe(16) for user in ("stateroom", "sentinel", "replica", "drill")}
    binary = server_binary()
    relayed = [Address(LOOPBACK, free_port()) for _ in range(6)]
    nodes = [_server(folder / f"node-{number}", binary, number, relayed, passwords) for number in range(3)]
    sentinels = [_sentinel(folder / f"sentinel-{number}", binary, number, relayed, passwords) for number in range(3)]
    common = _environment(folder, relayed[3:], passwords)
    made = Stack(
        nodes,
        sentinels,
        [Relay(at, node.address) for at, node in zip(relayed, [*nodes, *sentinels], strict=True)],
        [
            Worker(
                folder / f"worker-{number}", f"127.0.3.{number + 1}",
                common | dict(environment or {}) | ({"DATABASE_URL": database_urls[number]} if database_urls else {}),
                [*(part for name in without for part in ("--without", name)), *(switches or {}).get(number, ())],
            )
            for number in range(workers)
        ],
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as exits:
        for relay in made.relays:
            await exits.enter_async_context(relay)
        await exits.enter_async_context(running(nodes))
        await exits.enter_async_context(running(sentinels))
        await until(lambda: _is_whole(made), "every replica and Sentinel is known")
        for worker in made.workers:
            exits.push_async_callback(worker.stop)
        for worker in made.workers:  # one after the other: the first makes the schema
            await worker.start()
        await made.all_well()
        yield made


def _server(folder: Path, binary: str, number: int, relayed: Sequence[Address], passwords: Mapping[str, str]) -> Node:
    data = folder / "data"
    data.mkdir(parents=True)
    users = (SHIPPED / "deploy" / "users.acl").read_text(encoding="utf-8")
    for user in ("stateroom", "sentinel", "replica"):
        users = users.replace(f"user {user} on resetpass", f"user {user} on resetpass >{passwords[user]}")
    (folder / "users.acl").write_text(f"{users}user drill on >{passwords['drill']} ~* &* +@all\n", encoding="utf-8")
    options = {
        "dir": str(data),
        "aclfile": str(folder / "users.acl"),
        "masterauth": passwords["replica"],
        "bind-source-addr": f"127.0.1.{number + 1}",
        "replica-announce-ip": relayed[number].host,
        "replica-announce-port": str(relayed[number].port),
        **({"replicaof": f"{relayed[0].host} {relayed[0].port}"} if number else {}),
    }
    dialer = Dialer(2.0, 5.0, username="drill", password=passwords["drill"])
    return Node(folder, binary, options=options, dialer=dialer, shipped=SHIPPED / "deploy" / "redis.conf")


def _sentinel(folder: Path, binary: str, number: int, relayed: Sequence[Address], passwords: Mapping[str, str]) -> Node:
    at = relayed[3 + number]
    folder.mkdir(parents=True)
    text = (SHIPPED / "sentinel.conf").read_text(encoding="utf-8")
    first = relayed[0]
    text = text.replace(
        f"sentinel monitor {SERVICE_NAME} redis-0 6379", f"sentinel monitor {SERVICE_NAME} {first.host} {first.port}"
    )
    text = text.replace(
        f"sentinel down-after-milliseconds {SERVICE_NAME} 5000", f"sentinel down-after-milliseconds {SERVICE_NAME} {DOWN_AFTER_MS}"
    )
    shipped = folder / "shipped.conf"
    shipped.write_text(text, encoding="utf-8")
    lines = [
        f"sentinel auth-pass {SERVICE_NAME} {passwords['sentinel']}",
        f"sentinel announce-ip {at.host}",
        f"sentinel announce-port {at.port}",
    ]
    options = {"bind-source-addr": f"127.0.2.{number + 1}"}
    return Node(folder, binary, is_sentinel=True, shipped=shipped, options=options, lines=lines)


def _environment(folder: Path, sentinels: Sequence[Address], passwords: Mapping[str, str]) -> dict[str, str]:
    return {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOST": LOOPBACK,
        "REDIS_SENTINELS": ", ".join(map(str, sentinels)),
        "REDIS_MASTER_NAME": SERVICE_NAME,
        "REDIS_USERNAME": "stateroom",
        "REDIS_PASSWORD": passwords["stateroom"],
        "DATABASE_URL": f"sqlite:///{folder}/users.db",
        "COOKIE_KEYS": new_key(),
        "COOKIE_SECURE": "false",
        "SESSION_NAME": "session_id",
        "BCRYPT_ROUNDS": "10",
        "PASSWORD_BLOCKLIST": "off",
        "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
        "LOG_FORMAT": "json",
    }


async def _is_whole(made: Stack) -> bool:
    for replica in made.nodes[1:]:
        if await _role(replica) != "connected":
            return False
    for sentinel in made.sentinels:
        seen = await sentinel.call("SENTINEL", "MASTER", SERVICE_NAME)
        if int(seen[b"num-slaves"]) != 2 or int(seen[b"num-other-sentinels"]) != 2:
            return False
    return True


async def _role(node: Node) -> str:
    """`master`, or how a replica's link is: `connected`, `connect`, `sync`; `away` where it does not answer."""
    try:
        reply = await node.call("ROLE")
    except (RedisError, OSError, TimeoutError):
        return "away"
    return "master" if reply[0] == b"master" else str(reply[3].decode())


def _source(node: Node) -> str:
    return node.options["bind-source-addr"]


def _data(node: Node) -> Path:
    return Path(node.options["dir"])
