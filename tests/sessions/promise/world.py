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
import copy
import selectors
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar
from unittest import mock

import fakeredis

from stateroom.backend.client import Argument, Command, PoolFigures, Script
from stateroom.backend.near_cache import NearCache
from stateroom.backend.plain import PlainClient
from stateroom.backend.sentinel import Answer, SentinelWatcher
from stateroom.backend.standing import Standing
from stateroom.errors import DatabaseUnavailable, StoreUnavailable, Unavailable
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.model.rows import EndRow, Row
from stateroom.sessions.model.session import Session
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.wiring import wire
from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS
from stateroom.settings import Address
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

EPOCH = 1_700_000_000.0
POLL_SECONDS = 0.2
CACHE_SECONDS = 30.0
TIMEOUT_SECONDS = 0.5
SENTINELS = 3

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now


class _Idle(selectors.SelectSelector):
    """Instead of waiting, let time pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self._clock.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Idle(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now


class Node:
    """A server. `says_master`: what it believes itself to be."""

    def __init__(self, number: int) -> None:
        self.address = Address("node", number + 1)
        self.server = fakeredis.FakeServer()
        self.client = PlainClient(fakeredis.FakeAsyncRedis(server=self.server))
        self.says_master = number == 0
        self.refuses_writes = False
        self._readers: dict[str, set[FakeClient]] = {}

    def note_reader(self, key: str, client: FakeClient) -> None:
        """Who is told, once, that this key has changed."""
        self._readers.setdefault(key, set()).add(client)

    async def write(self, call: Any) -> Any:
        """Do something that may change keys, and tell who has read them."""
        before = {key: await self._fields(key) for key in list(self._readers)}
        reply = await call(self.client)
        for key in list(self._readers):  # of one read meanwhile it is not known whether it was read before
            if key not in before or await self._fields(key) != before[key]:
                for client in self._readers.pop(key, set()):
                    client.tell(self, [key.encode()])
        return reply

    async def flush(self) -> None:
        await self.client.execute("", "FLUSHALL")
        self._tell_of_flush()

    async def _fields(self, key: str) -> Any:
        return await self.client.execute(key, "HGETALL", key)

    def _tell_of_flush(self) -> None:
        readers, self._readers = self._readers, {}
        for client in set().union(*readers.values()):
            client.tell(self, None)

    def dump(self) -> Any:
        return {number: copy.deepcopy(database._dict) for number, database in self.server.dbs.items()}

    def load(self, state: Any) -> None:
        for number, content in state.items():
            self.server.dbs[number]._dict = copy.deepcopy(content)
        self._tell_of_flush()


class FakeJournal:
    """The table, as one worker reaches it. Rows get their number first and are seen when committed."""

    has_journal = True

    def __init__(self, world: World) -> None:
        self._world = world
        self.is_cut = False

    async def _ask(self) -> None:
        await asyncio.sleep(0.002)
        if self.is_cut:
            raise DatabaseUnavailable("cut")

    def _numbered(
        self, user: str, handle: str | None, generation: int | None, reason: str, until: int, successor: str | None = None
    ) -> Row:
        self._world.last_seq += 1
        return Row(self._world.last_seq, user, handle, generation, reason, 0, until, successor)

    def _of_end(self, row: EndRow) -> Row:
        return self._numbered(row.user, row.handle, None, row.reason, row.expires_at, row.successor)

    async def _commit(self, rows: Sequence[Row]) -> None:
        await asyncio.sleep(self._world.commit_seconds)
        if self.is_cut:
            raise DatabaseUnavailable("cut before the commit")
        for row in rows:
            self._world.rows[row.seq] = row
            if row.generation is not None:
                self._world.generations[row.user] = row.generation

    async def record(self, rows: Sequence[EndRow]) -> None:
        await self._ask()
        for row in rows:
            await self._commit([self._of_end(row)])

    async def raise_generation(
        self, user: str, reason: str, *, seen: int = 0, ended_at: int, expires_at: int, in_transaction: object = None
    ) -> int:
        await self._ask()
        async with self._world.turns[user]:
            generation = max(self._world.generations.get(user, 0), seen) + 1
            await self._commit([self._numbered(user, None, generation, reason, expires_at)])
        return generation

    async def rotate(
        self, rotation: EndRow, generation: int, *, revokes: str | None, expires_at: int, in_transaction: object = None
    ) -> bool:
        await self._ask()
        user = rotation.user
        async with self._world.turns[user]:
            is_ended = any((row.user, row.handle) == (user, rotation.handle) for row in self._world.rows.values())
            now = self._world.generations.get(user, 0)
            if is_ended or now > generation:
                return False
            raised = [] if revokes is None else [self._numbered(user, None, generation + 1, revokes, expires_at)]
            await self._commit([*raised, self._of_end(rotation)])
        return True

    async def generation(self, user: str) -> int:
        await self._ask()
        return self._world.generations.get(user, 0)

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        await self._ask()
        return next((row.reason for _, row in sorted(self._world.rows.items()) if row.ends(ref, generation)), None)

    async def newest(self, limit: int) -> list[Row]:
        await self._ask()
        return [row for _, row in sorted(self._world.rows.items())][-limit:]

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        await self._ask()
        rows = [row for seq, row in sorted(self._world.rows.items()) if seq > after and row.handle is None]
        return [row for row in rows if row.expires_at > needed_at][:limit]

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        await self._ask()
        wanted = set(gaps)  # as the statement was sent: gaps is the tail's own
        return [row for seq, row in sorted(self._world.rows.items()) if seq > after or seq in wanted][:limit]

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        await self._ask()
        keys: set[tuple[str, str | None]] = set(refs)
        rows = [row for _, row in sorted(self._world.rows.items()) if (row.user, row.handle) in keys]
        users = {ref.user for ref in refs}
        return rows, {user: number for user, number in self._world.generations.items() if user in users}

    async def fleet_id(self) -> str:
        await self._ask()
        return "fleet"

    async def agree_on_lease(self, lease_ms: int) -> int:
        await self._ask()
        return lease_ms

    async def of_user(self, user: str) -> list[Row]:
        await self._ask()
        return [row for _, row in sorted(self._world.rows.items()) if row.user == user]

    async def prune(self, now: int, limit: int) -> int:
        return 0


class FakeClient:
    """`RedisClient` of one worker: of the primary that it believes in, if its link to that is whole.

    `lag`: seconds that what a server says is on its way, in order.
    """

    def __init__(self, world: World, near: NearCache | None) -> None:
        self._world = world
        self._near = near
        self._standing = Standing(near)
        self._node: Node | None = None
        self.lag = 0.0
        self._arrived_at = 0.0
        self._held: list[Callable[[], None]] = []
        self.cut: set[Address] = set()
        self.cut_sentinels: set[int] = set()
        self.delays_next_write = False
        self.watcher = SentinelWatcher(
            [Address("sentinel", number + 1) for number in range(SENTINELS)], "m", mock.Mock(dial_timeout=1), Metrics(),
            lease_seconds=LEASE_SECONDS, on_switch=lambda _: self.drop(), on_update=self._believe,
        )  # fmt: skip

    def hear(self) -> None:
        """What the Sentinels that can be reached say now."""
        for number, sentinel in enumerate(self.watcher.sentinels):
            primary, epoch = self._world.named[number]
            is_cut = number in self.cut_sentinels
            sentinel.answer = None if is_cut else Answer(primary, epoch, self._world.clock.now)
        self.watcher._update()

    def drop(self) -> None:
        self._node = None
        self._held.clear()
        self._standing.lost()

    def tell(self, node: Node, keys: list[bytes] | None) -> None:
        """A server's news, over the connection that this client has to it now."""
        near, serial = self._near, self._standing.connection_epoch
        if near is None or node is not self._node:
            return

        def hear() -> None:
            if node is not self._node or serial != self._standing.connection_epoch:
                return
            if node.address in self.cut:
                self._held.append(hear)
            else:
                near.on_push([b"invalidate", keys])

        self._arrive(hear)

    def _arrive(self, what: Callable[[], None]) -> None:
        self._arrived_at = max(self._arrived_at + 1e-6, self._world.clock.now + self.lag)
        self._world.loop.call_at(self._arrived_at, what)

    async def _on_its_way(self) -> None:
        arrived = asyncio.Event()
        self._arrive(arrived.set)
        await arrived.wait()

    def _believe(self) -> None:
        if self._node is not None:
            self._standing.believed_until = self.watcher.believed_until

    def connect(self) -> Node:
        if self._node is None and self.watcher.primary is not None:
            node = self._world.node_at(self.watcher.primary)
            if node.address not in self.cut and node.says_master:
                self._node = node
                self._standing.connected(self.watcher.believed_until)
                if self._near is not None:
                    self._near._is_tracking = True
        node_now = self._node
        if node_now is None or node_now.address in self.cut:
            self.drop()
            raise StoreUnavailable("cut")
        held, self._held = self._held, []
        for hear in held:
            hear()
        return node_now

    async def _call(self, write: bool, call: Any) -> Any:
        node = self.connect()
        await asyncio.sleep(0.001)
        if write:
            if not node.says_master:
                self.drop()
                raise StoreUnavailable("READONLY", kind="readonly")
            if node.refuses_writes:
                raise StoreUnavailable("NOREPLICAS", kind="refused")
            if self.delays_next_write:  # it arrives, but later than anybody waits
                self.delays_next_write = False
                self._world.late.append((node, call))
                await asyncio.sleep(TIMEOUT_SECONDS)
                self.drop()
                raise StoreUnavailable("no answer", kind="timeout")
        if node is not self._node or node.address in self.cut:
            self.drop()
            raise StoreUnavailable("cut on the way")
        reply = await (node.write(call) if write else call(node.client))
        if self._near is not None:
            await self._on_its_way()
        if node is not self._node or node.address in self.cut:
            raise StoreUnavailable("the answer was lost")
        return reply

    async def _read(self, key: str, *command: Argument) -> Any:
        """Through the near cache's books, as the real client reads."""
        assert self._near is not None
        reply = self._world.loop.create_future()
        node = self.connect()
        self._near.keep_reply(key, reply)
        self._near.batch_sent()

        async def call(client: PlainClient) -> Any:
            node.note_reader(key, self)
            return await client.execute(key, *command)

        try:
            reply.set_result(await self._call(False, call))
        except StoreUnavailable as fault:
            reply.set_exception(fault)
        return await reply

    async def start(self) -> None:
        return

    async def aclose(self) -> None:
        return

    async def execute(self, key: str, *command: Argument) -> Any:
        if self._near is not None and command[0] == "HGETALL":
            return await self._read(key, *command)
        is_write = command[0] in {"SET", "PEXPIRE"}
        return await self._call(is_write, lambda client: client.execute(key, *command))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        try:
            return await self._call(True, lambda client: client.run(script, keys, args))
        finally:
            if self._near is not None:
                self._near.drop(keys)

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        raise NotImplementedError

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        reply = await self.run(script, keys, args)
        if self._world.replicates and self._node is self._world.primary:
            self._world.replicate()
            return reply, 1
        return reply, 0

    def shards(self) -> Sequence[str]:
        return ("",)

    def standing(self, key: str) -> Standing:
        return self._standing

    @property
    def is_available(self) -> bool:
        return self._node is not None

    def pool_figures(self) -> PoolFigures:
        return PoolFigures(0, 0, 1, 0)


class Worker:
    def __init__(self, world: World, key: str, number: int, *, journal_required: bool, caches: bool) -> None:
        self.client = FakeClient(world, NearCache(CACHE_SECONDS) if caches else None)
        self.journal = FakeJournal(world)
        made = settings(
            database_url="sqlite:///unused.db", session_max_age=100_000, session_absolute_max_age=100_000, degraded_max_age=90_000,
            redis_write_replicas=1, journal_required=journal_required,
            cookie_keys=key, session_cache_max_age=CACHE_SECONDS if caches else 0,
        )  # fmt: skip
        self.parts = wire(made, Metrics(), self.client, self.journal)
        self.manager = SessionManager(self.parts)
        self.parts.replay.sweeps = number == 0
        self.tasks = [
            asyncio.ensure_future(work) for work in (self._listen(), self.parts.tail.run(), self.parts.replay.run(), self._flush())
        ]

    async def _listen(self) -> None:
        while True:
            self.client.hear()
            with contextlib.suppress(StoreUnavailable):
                self.client.connect()
            await asyncio.sleep(POLL_SECONDS)

    async def _flush(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self.parts.ends.flush()
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

    def __init__(self, *, workers: int = 2, journal_required: bool = False, caches: bool = False) -> None:
        self.clock = Clock()
        self._patches = [mock.patch("time.monotonic", self.clock.monotonic), mock.patch("time.time", self.clock.time)]
        for patch in self._patches:
            patch.start()
        self.loop = VirtualLoop(self.clock)
        asyncio.set_event_loop(self.loop)
        self.rows: dict[int, Row] = {}
        self.generations: dict[str, int] = {}
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.last_seq = 0
        self.commit_seconds = 0.002
        self.replicates = True
        self.late: list[tuple[Node, Any]] = []
        self.nodes = [Node(0), Node(1)]
        self.primary = self.nodes[0]
        self.epoch = 1
        self.named = [(self.primary.address, 1)] * SENTINELS
        self.snapshot: Any = None
        self.workers = self.do(self._workers(workers, new_key(), journal_required, caches))
        self.advance(2.0)

    async def _workers(self, count: int, key: str, journal_required: bool, caches: bool) -> list[Worker]:
        return [Worker(self, key, number, journal_required=journal_required, caches=caches) for number in range(count)]

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
        for patch in self._patches:
            patch.stop()

    def node_at(self, address: Address) -> Node:
        return next(node for node in self.nodes if node.address == address)

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
        self.epoch += 1
        self.named[0] = (self.primary.address, self.epoch)

    def sentinel_learns(self, number: int) -> None:
        self.named[number] = (self.primary.address, self.epoch)

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

    def deliver_late(self) -> None:
        """What a hung server was sent arrives there now."""
        node, call = self.late.pop(0)
        with contextlib.suppress(Unavailable):
            self.do(node.write(call))
