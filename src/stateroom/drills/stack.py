"""The stack that a drill breaks: a primary, two replicas, three Sentinels and the service, as real processes.

Servers and Sentinels start from the shipped files (`deploy/redis.conf`, `deploy/users.acl`, `sentinel.conf`), with
down-after lowered to one second. In front of each is a relay. The servers announce the relays' addresses, so all
traffic passes through relays. Each process connects from its own loopback address. By this address the relays tell the
sides of a partition apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError, ResponseError

from ..settings import Address
from .node import Node, running, server_binary, until
from .ports import LOOPBACK, free_port
from .relay import Relay
from .shipped import make_environment, make_sentinel, make_server, write_sentinel_config
from .topology import SERVICE_NAME
from .workers import SERVICES, Worker

PROBE_SECONDS = 0.005
OFTEN = ("publish-period", 250, "info-period", 1000)
AS_USUAL = ("publish-period", 2000, "info-period", 10_000)
"""Sentinel's own intervals, in milliseconds (`SENTINEL DEBUG`)."""
ROLE_SECONDS = 0.5
NOT_YET = ("INPROG", "NOGOODSLAVE")


@dataclass
class Stack:
    """All processes. `relays`: one per node, first those of `nodes`, then those of `sentinels`, in the same order."""

    nodes: list[Node]
    sentinels: list[Node]
    relays: list[Relay]
    workers: list[Worker]

    async def primary(self, among: Collection[Node] | None = None) -> Node:
        """Wait until most Sentinels name a server that says itself that it is a primary, and return it."""
        found: list[Node] = []

        async def is_found() -> bool:
            found[:] = [node for node in (among or self.nodes) if node.is_running and await role(node) == "master"]
            named = [each for each in [await self._named(sentinel) for sentinel in self.sentinels] if each is not None]
            ports = {self._relay_of(node).at.port: node for node in found}
            believed = [ports[each] for each in set(named) if each in ports and named.count(each) * 2 > len(self.sentinels)]
            found[:] = believed[:1]
            return bool(found)

        await until(is_found, "the Sentinels agree on a primary")
        return found[0]

    async def first_write(self, among: Sequence[Node]) -> tuple[Node, float]:
        """Try to write until one of these servers accepts it. Returns that server and the time, of the monotonic clock."""
        while True:
            for node in among:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    if await node.call("SET", "drill:probe", 1) == b"OK":
                        return node, time.monotonic()
            await asyncio.sleep(PROBE_SECONDS)

    async def settled(self, workers: Sequence[Worker] | None = None) -> None:
        """Return when these workers, or all, report Redis as settled."""

        async def is_settled() -> bool:
            return all([await each.state() == "settled" for each in workers or self.workers])

        await until(is_settled, "the workers report Redis as settled", seconds=60)

    async def all_well(self) -> None:
        """Return when every server runs, every replica is linked and every worker reports Redis as settled."""

        async def is_well() -> bool:
            if not all(node.is_running for node in self.nodes):
                return False
            roles = [await role(node) for node in self.nodes]
            return sorted(roles) == [*["connected"] * (len(self.nodes) - 1), "master"]

        await until(is_well, "all servers are linked", seconds=60)
        await self.settled()

    @contextlib.asynccontextmanager
    async def hurried(self) -> AsyncIterator[None]:
        """Inside this context an old primary that is back becomes a replica within about 2 s, not 11 s.

        Sentinels wait four of their publish periods, and then for the next INFO. Servers before Redis 7 always take 11 s.
        """
        await self._tell_sentinels(*OFTEN)
        try:
            yield
        finally:
            await self._tell_sentinels(*AS_USUAL)

    async def _tell_sentinels(self, *words: str | int) -> None:
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await sentinel.call("SENTINEL", "DEBUG", *words)

    async def fail_over(self, *, coordinated: bool) -> bool:
        """Tell a Sentinel to promote another server. Whether the failover was coordinated, which needs Valkey 9.

        A Sentinel refuses while it still knows too little of the replicas, for example soon after another failover.
        """
        sentinel = next(each for each in self.sentinels if each.is_running)

        async def begins(*more: str) -> bool:
            try:
                await sentinel.call("SENTINEL", "FAILOVER", SERVICE_NAME, *more)
            except ResponseError as error:
                if str(error).startswith(NOT_YET):
                    return False
                raise
            return True

        if coordinated:
            with contextlib.suppress(ResponseError):
                await until(lambda: begins("COORDINATED"), "a Sentinel begins a coordinated failover")
                return True
        await until(begins, "a Sentinel begins a failover")
        return False

    async def replace_sentinels(self, primary: Node) -> None:
        """Kill all Sentinels, and start empty ones at the same addresses. They know only this primary."""
        await asyncio.gather(*(sentinel.kill() for sentinel in self.sentinels))
        for sentinel in self.sentinels:
            sentinel.forget()
            write_sentinel_config(sentinel.folder, self._relay_of(primary).at)
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))

    def hold_replication_back(self, primary: Node) -> None:
        """From now on no write of the primary reaches its replicas. The replicas still reply."""
        replicas = [node for node in self.nodes if node is not primary]
        self._relay_of(primary).cut(_source(node) for node in replicas)

    def lose_replication(self, primary: Node) -> None:
        """Drop the writes that were held back, because the primary is dead."""
        self._relay_of(primary).lose()

    def partition(self, nodes: Collection[Node], workers: Collection[Worker]) -> None:
        """Cut these servers, Sentinels and workers off from all the others."""
        everything = [*self.nodes, *self.sentinels]
        here = {_source(node) for node in nodes} | {worker.source for worker in workers}
        there = {_source(node) for node in everything} | {worker.source for worker in self.workers}
        for relay, node in zip(self.relays, everything, strict=True):
            relay.cut((there - here) if node in nodes else here)

    def heal(self) -> None:
        """End the partition. Data that was held arrives now."""
        for relay in self.relays:
            relay.heal()

    async def stop_redis(self) -> None:
        """Stop all servers with SIGTERM, so that their data on disk is complete. The Sentinels keep running."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def start_redis(self) -> None:
        """Start all servers."""
        await asyncio.gather(*(node.start() for node in self.nodes))

    def copy_disks(self, to: Path) -> None:
        """Copy the servers' data folders."""
        for node in self.nodes:
            shutil.copytree(_data(node), to / node.folder.name)

    def put_disks_back(self, source: Path) -> None:
        """Replace the servers' data by a copy. The servers must not run."""
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
    service: str = "stateroom",
    round_trip: float = 0.0,
) -> AsyncIterator[Stack]:
    """Run a stack. On entry every replica is linked and every worker reports Redis as settled.

    `workers`: how many. `without`: protections that the workers do without. `environment`: more settings. `switches`: more
    options of `stateroom.drills.worker`, by the worker's number. `database_urls`: the `DATABASE_URL` of each worker; by
    default one SQLite file in the folder. `service`: which of `SERVICES`. `round_trip`: of every link to a server or a
    Sentinel, in seconds.
    """
    passwords = {user: secrets.token_urlsafe(16) for user in ("stateroom", "sentinel", "replica", "drill")}
    binary = server_binary()
    relayed = [Address(LOOPBACK, free_port()) for _ in range(6)]
    nodes = [make_server(folder / f"node-{number}", binary, number, relayed, passwords) for number in range(3)]
    sentinels = [make_sentinel(folder / f"sentinel-{number}", binary, number, relayed, passwords) for number in range(3)]
    common = make_environment(folder, relayed[3:], passwords, user="stateroom" if service == "stateroom" else "drill")
    made = Stack(
        nodes,
        sentinels,
        [Relay(at, node.address, round_trip=round_trip) for at, node in zip(relayed, [*nodes, *sentinels], strict=True)],
        [
            Worker(
                folder / f"worker-{number}", f"127.0.3.{number + 1}",
                common | dict(environment or {}) | ({"DATABASE_URL": database_urls[number]} if database_urls else {}),
                [*(part for name in without for part in ("--without", name)), *(switches or {}).get(number, ())],
                SERVICES[service],
            )
            for number in range(workers)
        ],
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as exits:
        for relay in made.relays:
            await exits.enter_async_context(relay)
        await exits.enter_async_context(running(nodes))
        # A Sentinel asks the primary for its replicas at its start, and then only every 10 s.
        await until(lambda: _is_linked(made), "every replica is linked")
        await exits.enter_async_context(running(sentinels))
        for worker in made.workers:
            exits.push_async_callback(worker.stop)
        # Sentinels find each other within 2 s. The workers need most of this time to start.
        await asyncio.gather(
            until(lambda: _is_known(made), "every replica and Sentinel is known"), *(worker.start() for worker in made.workers)
        )
        await made.all_well()
        yield made


async def _is_linked(made: Stack) -> bool:
    states = [await role(replica) for replica in made.nodes[1:]]
    known = (await made.nodes[0].call("ROLE"))[2]
    return states == ["connected"] * len(states) and len(known) == len(states)


async def _is_known(made: Stack) -> bool:
    for sentinel in made.sentinels:
        seen = await sentinel.call("SENTINEL", "MASTER", SERVICE_NAME)
        if int(seen[b"num-slaves"]) != 2 or int(seen[b"num-other-sentinels"]) != 2:
            return False
    return True


async def role(node: Node) -> str:
    """`master`, or the state of a replica's link (`connected`, `connect`, `sync`), or `away` if it does not reply."""
    try:
        async with asyncio.timeout(ROLE_SECONDS):
            reply = await node.call("ROLE")
    except (RedisError, OSError, TimeoutError):
        return "away"
    return "master" if reply[0] == b"master" else str(reply[3].decode())


def _source(node: Node) -> str:
    return node.options["bind-source-addr"]


def _data(node: Node) -> Path:
    return Path(node.options["dir"])
