"""A fleet in one process and in virtual time: workers of real code, over fakes of what they talk to.

Real are the manager and everything under it (honour, ends, apply, restore, the tail, the scripts by fakeredis) and
how Sentinels are believed. Fake are the servers (two, one replicating to the other when told to), what the Sentinels
say, the journal's table, and all links between them, which can be cut. Time passes only when nothing can be done.
With `caches` workers keep copies of sessions, and servers tell them of changes, each over its link and no sooner than
that lets it through.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

from redis.exceptions import ConnectionError as RedisConnectionError

from stateroom.backend import sentinel
from stateroom.backend.agreement import Agreement
from stateroom.backend.client import Argument, Script
from stateroom.backend.near_cache import NearCache
from stateroom.backend.one_sentinel import Answer
from stateroom.backend.sentinel import SentinelWatcher
from stateroom.errors import StoreUnavailable, Unavailable
from stateroom.sessions import upkeep
from stateroom.sessions.journal.two_looks import BEYOND_DEGRADED_SECONDS
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.session import Session
from stateroom.sessions.protocol.accepting import accept_epoch
from stateroom.sessions.protocol.unknown_users import KnownUsers
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store import key_names, session_store
from stateroom.sessions.upkeep import Upkeep
from stateroom.sessions.wiring import wire
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Address
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ..fake_journal import FakeJournal, Table
from ..fake_redis import Call, FakeClient, Node
from ..virtual import Clock, Host, VirtualLoop, on_host

POLL_SECONDS = 0.2
CACHE_SECONDS = 30.0
LONGEST_SECONDS = 100_000
TAG_COUNT = 8
"""Tags spread sessions over a Cluster's shards. Here is one primary, and looking through all of them takes long."""
TIMEOUT_SECONDS = 0.5
SENTINELS = 3
PREFIX = "test"

T = TypeVar("T")


class SentinelClient(FakeClient):
    """One worker's client, of the primary that it believes in by what the Sentinels that it reaches say."""

    def __init__(self, world: World, near: NearCache | None) -> None:
        super().__init__(near=near)
        self._world = world
        self.cut_sentinels: set[int] = set()
        self.delays_next_write = False
        self.hears_old_sentinels = False
        self.agreement = Agreement(lease_seconds=LEASE_SECONDS)
        self.watcher = SentinelWatcher(
            [Address("sentinel", number + 1) for number in range(SENTINELS)], "m",
            mock.Mock(dial_timeout=1, read_timeout=TIMEOUT_SECONDS), Metrics(),
            lease_seconds=LEASE_SECONDS, on_switch=lambda _: self.drop(), on_update=self._believe,
            agreement=self.agreement, examine=self.examine,
        )  # fmt: skip

    def hear(self) -> None:
        """What the Sentinels that can be reached say now."""
        for number, each in enumerate(self.watcher.sentinels):
            named = self._world.named_by_old if self.hears_old_sentinels else self._world.named
            primary, epoch = named[number]
            is_cut = number in self.cut_sentinels
            each.answer = None if is_cut else Answer(primary, epoch, self._world.clock.now)
        self.watcher._update()

    async def examine(self, primary: Address) -> None:
        """As the real client does: a primary that holds the deployment's id."""
        node = self._world.node_at(primary)
        await asyncio.sleep(0.001)
        key, own = self.agreement.identity()
        held = await node.call("GET", key)
        if primary in self.cut or not node.says_master or held is None or held.decode() != own:
            raise RedisConnectionError("not a primary of this deployment")

    def _find(self) -> tuple[Node | None, float]:
        primary = self.watcher.primary
        return (None if primary is None else self._world.node_at(primary)), self.watcher.believed_until

    def _believe(self) -> None:
        if self._node is not None:
            self._standing.believed_until = self.watcher.believed_until

    async def _before_write(self, node: Node, call: Call) -> None:
        await super()._before_write(node, call)
        if self.delays_next_write:  # it arrives, but later than anybody waits
            self.delays_next_write = False
            self._world.late.append((node, call))
            await asyncio.sleep(TIMEOUT_SECONDS)
            self.drop()
            raise StoreUnavailable("no answer", kind="timeout")

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        reply = await self.run(script, keys, args)
        if self._world.replicates and self._node is self._world.primary:
            self._world.replicate()
            return reply, 1
        return reply, 0


@dataclass(frozen=True)
class Options:
    """`known_users`: which users there are; None if nobody is asked. Times are seconds."""

    journal_required: bool = False
    caches: bool = False
    degraded_seconds: int = 90_000
    beyond_seconds: float = BEYOND_DEGRADED_SECONDS
    rebuilt_leases: int = 10
    known_users: KnownUsers | None = None
    cookie_keys: str = field(default_factory=new_key)
    token_keys: str = ""


class Worker(Host):
    """A process, on a host of its own."""

    def __init__(self, world: World, number: int, options: Options, *, skew_seconds: float = 0.0) -> None:
        super().__init__()
        self.skew_seconds = skew_seconds
        with on_host(self):
            self._begin(world, number, options)

    def _begin(self, world: World, number: int, options: Options) -> None:
        caches = options.caches
        self.client = SentinelClient(world, NearCache(CACHE_SECONDS) if caches else None)
        self.journal = FakeJournal(world.table)
        made = settings(
            database_url="sqlite:///unused.db", session_max_age=LONGEST_SECONDS, session_absolute_max_age=LONGEST_SECONDS,
            session_remember_max_age=LONGEST_SECONDS, degraded_max_age=options.degraded_seconds,
            redis_read_timeout=TIMEOUT_SECONDS, redis_write_replicas=1, journal_required=options.journal_required,
            jwt_keys=options.token_keys, cookie_keys=options.cookie_keys, redis_key_prefix=PREFIX,
            session_cache_max_age=CACHE_SECONDS if caches else 0,
        )  # fmt: skip
        self.parts = wire(made, Metrics(), self.client, self.journal, options.known_users)
        self.manager = SessionManager(self.parts)
        self.parts.replay.sweeps = number == 0
        self.tasks = [
            asyncio.ensure_future(work)
            for work in (
                self._listen(),
                self.parts.tail.run(),
                self.parts.replay.run(),
                self.parts.epochs.run(),
                self.parts.sentinel_keeper.run(),
                self._flush(),
            )
        ]

    async def _listen(self) -> None:
        while True:
            self.client.hear()
            await self.client.watcher.examine_rebuilt()
            with contextlib.suppress(StoreUnavailable):
                self.client.connect()
            await asyncio.sleep(POLL_SECONDS)

    async def _flush(self) -> None:
        work = Upkeep(self.parts)
        while True:
            steps = (work.calibrate, work.flush_ends, work.prune_journal, work.look_whose, work.end_unknown_users)
            for step in steps:
                with contextlib.suppress(Unavailable):
                    await step()
            await asyncio.sleep(1.0)

    async def load(self, cookie: str) -> Session:
        return await self.manager.load(cookie)

    async def aclose(self) -> None:
        while left := [task for task in self.tasks if not task.done()]:  # redis-py swallows a cancellation now and then
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        await self.parts.lookup.aclose()
        await self.parts.tail.aclose()


class World:
    """The fleet. `advance` lets virtual time pass; everything else is at once."""

    def __init__(self, *, workers: int = 2, **options: Any) -> None:
        """`options`: see `Options`."""
        self.clock = Clock()
        self.options = Options(**options)
        self._exits = contextlib.ExitStack()
        self._exits.enter_context(self.clock.ticking())
        self._exits.enter_context(mock.patch.object(upkeep, "BEYOND_DEGRADED_SECONDS", self.options.beyond_seconds))
        self._exits.enter_context(mock.patch.object(sentinel, "REBUILT_LEASES", self.options.rebuilt_leases))
        for module in (key_names, session_store):
            self._exits.enter_context(mock.patch.object(module, "TAG_COUNT", TAG_COUNT))
        self.loop = VirtualLoop(self.clock)
        asyncio.set_event_loop(self.loop)
        self.table = Table(1000 * LONGEST_SECONDS)
        self.replicates = True
        self.late: list[tuple[Node, Call]] = []
        self.nodes = [Node(0), Node(1)]
        self.empty = Node(2)  # of nobody: a wrong name leads to it
        self.empty.says_master = True
        self.primary = self.nodes[0]
        self.named = [(self.primary.address, 1)] * SENTINELS
        self.named_by_old = list(self.named)
        self.snapshot: Any = None
        self.do(self.primary.begin(PREFIX))
        self.workers = [self.do(self._worker(number)) for number in range(workers)]
        self.advance(2.0)

    async def _worker(self, number: int, *, skew_seconds: float = 0.0) -> Worker:
        return Worker(self, number, self.options, skew_seconds=skew_seconds)

    def restart_all(self, meanwhile: Callable[[], object]) -> None:
        """Every worker is stopped, something happens, and new ones are started."""
        for worker in self.workers:
            self.do(worker.aclose())
        meanwhile()
        for number in range(len(self.workers)):
            self.restart_worker(number)
        self.advance(2.0)

    def restart_worker(self, number: int) -> None:
        """Another process takes its place, with the host's clock and links. It remembers nothing."""
        old = self.workers[number]
        self.do(old.aclose())
        new = self.workers[number] = self.do(self._worker(number, skew_seconds=old.skew_seconds))
        new.journal.table, new.journal.is_cut = old.journal.table, old.journal.is_cut
        new.client.hears_old_sentinels = old.client.hears_old_sentinels
        new.client.cut, new.client.cut_sentinels = old.client.cut, old.client.cut_sentinels

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(work)

    def advance(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    def close(self) -> None:
        for worker in self.workers:
            self.do(worker.aclose())
        for node in self.nodes:
            self.do(node.client.aclose())
        self.loop.close()
        asyncio.set_event_loop(None)
        self._exits.close()

    def node_at(self, address: Address) -> Node:
        return next(node for node in (*self.nodes, self.empty) if node.address == address)

    @property
    def replica(self) -> Node:
        return next(node for node in self.nodes if node is not self.primary)

    def replicate(self) -> None:
        if not self.replica.says_master:
            self.replica.load(self.primary.dump())

    def fail_over(self) -> None:
        """The replica is promoted, with what it has; one Sentinel knows. The old primary has not heard."""
        old, self.primary = self.primary, self.replica
        self.primary.says_master, self.primary.refuses_writes = True, False
        assert old.says_master
        self.named[0] = (self.primary.address, 1 + max(epoch for _, epoch in self.named))

    def sentinel_learns(self, number: int) -> None:
        """By the others' hellos: what one of them says with a higher epoch."""
        best = max(self.named, key=lambda each: each[1])
        if best[1] > self.named[number][1]:
            self.named[number] = best

    def promote_by_hand(self) -> None:
        """No Sentinel knows of it, and the old primary has not heard."""
        self.primary = self.replica
        self.primary.says_master, self.primary.refuses_writes = True, False

    def forget(self, number: int, node: Node) -> None:
        """A Sentinel is replaced by an empty one that monitors this server."""
        self.named[number] = (node.address, 0)

    def rebuild_sentinels(self, node: Node) -> None:
        """All are replaced by empty ones. The old ones still run, and a worker may still reach them."""
        self.named_by_old = list(self.named)
        for number in range(SENTINELS):
            self.forget(number, node)

    async def accept(self, number: int, *, after: float = 0.0) -> bool:
        """What `stateroom sentinels accept` does on this worker's host. Its question is answered `after` so many seconds."""
        worker = self.workers[number]
        answers = [each.answer for each in worker.client.watcher.sentinels if each.answer is not None]
        named = {(answer.epoch, answer.primary) for answer in answers}
        if len(named) != 1 or len(answers) < worker.client.watcher.majority:
            return False
        [(epoch, primary)] = named
        row = (await worker.journal.read(0, (), 1)).deployment
        if row is None or row.sentinels[1:] == (epoch, str(primary)):
            return False
        await worker.client.examine(primary)
        await asyncio.sleep(after)
        await accept_epoch(worker.journal, row.sentinels, epoch=epoch, primary=str(primary))
        return True

    def old_primary_learns(self) -> None:
        old = self.replica
        if old.says_master:
            old.says_master = False
            old.load(self.primary.dump())

    def old_disk(self, state: Any) -> None:
        """The servers are stopped, an older state is put in place, they are started."""
        for node in self.nodes:
            node.load(state)
        for worker in self.workers:
            worker.client.drop()

    def restore_database(self, backup: Table) -> None:
        """The database becomes what it was: its file is replaced, so that a commit under way fails."""
        skew, self.table = self.table.skew_seconds, backup.copy()
        self.table.commit_seconds, self.table.skew_seconds = 0.002, skew
        for worker in self.workers:
            worker.journal.table = self.table

    def wrong_database(self, worker: int, *, is_wrong: bool) -> None:
        """For a moment a name leads one worker to another deployment's database, which is empty."""
        other = Table()
        its, ours = other.deployment, self.table.deployment
        other.deployment = its._replace(id="another", lease_ms=int(1000 * LEASE_SECONDS), name="", sentinels=ours.sentinels)
        self.workers[worker].journal.table = other if is_wrong else self.table

    def deliver_late(self) -> None:
        """What a hung server was sent arrives there now."""
        node, call = self.late.pop(0)
        with contextlib.suppress(Unavailable):
            self.do(node.write(call))
