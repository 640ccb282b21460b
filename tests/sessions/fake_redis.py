"""Servers by fakeredis, and a client of them whose link can be cut, with nothing between that takes real time."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import fakeredis

from stateroom.backend.client import Argument, Command, PoolFigures, Script
from stateroom.backend.near_cache import NearCache
from stateroom.backend.plain import PlainClient
from stateroom.backend.standing import Standing
from stateroom.errors import StoreUnavailable
from stateroom.sessions.store.key_names import KeyNames
from stateroom.settings import Address

from .virtual import Host, on_host

WRITES = {"SET", "PEXPIRE"}

Call = Callable[[PlainClient], Any]
"""What is asked of a server, done with a client of its own."""


class Node(Host):
    """A server, on a host of its own. `says_master`: what it believes itself to be."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.address = Address("node", number + 1)
        self.server = fakeredis.FakeServer()
        self.client = PlainClient(fakeredis.FakeAsyncRedis(server=self.server))
        self.says_master = number == 0
        self.refuses_writes = False
        self._readers: dict[str, set[FakeClient]] = {}

    async def call(self, *command: Argument) -> Any:
        """One command on the server itself, whatever becomes of links."""
        return await self.write(lambda client: client.execute("", *command))

    async def begin(self, prefix: str) -> None:
        """As a first worker leaves it: empty, with a cursor. To see that it is empty takes a worker a thousand commands."""
        await self.call("SET", KeyNames(prefix).cursor(""), 0)

    async def ask(self, call: Call) -> Any:
        """Do something by this server's clock."""
        with on_host(self):
            return await call(self.client)

    def note_reader(self, key: str, client: FakeClient) -> None:
        """Who is told, once, that this key has changed."""
        self._readers.setdefault(key, set()).add(client)

    async def write(self, call: Call) -> Any:
        """Do something that may change keys, and tell who has read them."""
        before = {key: await self._fields(key) for key in list(self._readers)}
        reply = await self.ask(call)
        for key in list(self._readers):  # of one read meanwhile it is not known whether it was read before
            if key not in before or await self._fields(key) != before[key]:
                for client in self._readers.pop(key, set()):
                    client.tell(self, [key.encode()])
        return reply

    async def flush(self) -> None:
        await self.ask(lambda client: client.execute("", "FLUSHALL"))
        self._tell_of_flush()

    async def _fields(self, key: str) -> Any:
        return await self.ask(lambda client: client.execute(key, "HGETALL", key))

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


class FakeClient:
    """`RedisClient` of one worker. It takes this server for the primary, for good; who knows better overrides `_find`.

    `lag`: seconds that what a server says is on its way, in order. `cut`: servers that this worker does not reach.
    """

    def __init__(self, node: Node | None = None, near: NearCache | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._only = node
        self._near = near
        self._standing = Standing(near)
        self._node: Node | None = None
        self.lag = 0.0
        self._arrived_at = 0.0
        self._held: list[Callable[[], None]] = []
        self.cut: set[Address] = set()

    def _find(self) -> tuple[Node | None, float]:
        """The primary, and until when that may be believed."""
        return self._only, math.inf

    def drop(self) -> None:
        self._node = None
        self._held.clear()
        self._standing.lost()

    def tell(self, node: Node, keys: list[bytes] | None) -> None:
        """A server's news, over the connection that this client has to it now."""
        near, epoch = self._near, self._standing.connection_epoch
        if near is None or node is not self._node:
            return

        def hear() -> None:
            if node is not self._node or epoch != self._standing.connection_epoch:
                return
            if node.address in self.cut:
                self._held.append(hear)
            else:
                near.on_push([b"invalidate", keys])

        self._arrive(hear)

    def _arrive(self, what: Callable[[], None]) -> None:
        self._arrived_at = max(self._arrived_at + 1e-6, self._loop.time() + self.lag)
        self._loop.call_at(self._arrived_at, what)

    async def _on_its_way(self) -> None:
        arrived = asyncio.Event()
        self._arrive(arrived.set)
        await arrived.wait()

    def connect(self) -> Node:
        """The server that this client has a connection to, made now if need be. Raises `StoreUnavailable`."""
        if self._node is None:
            node, until = self._find()
            if node is not None and node.address not in self.cut and node.says_master:
                self._node = node
                self._standing.connected(until)
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

    async def _before_write(self, node: Node, call: Call) -> None:
        """Raises what a write meets instead of the server's answer."""
        if not node.says_master:
            self.drop()
            raise StoreUnavailable("READONLY", kind="readonly")
        if node.refuses_writes:
            raise StoreUnavailable("NOREPLICAS", kind="refused")

    async def _call(self, write: bool, call: Call) -> Any:
        node = self.connect()
        await asyncio.sleep(0.001)
        if write:
            await self._before_write(node, call)
        if node is not self._node or node.address in self.cut:
            self.drop()
            raise StoreUnavailable("cut on the way")
        reply = await (node.write(call) if write else node.ask(call))
        if self._near is not None:
            await self._on_its_way()
        if node is not self._node or node.address in self.cut:
            raise StoreUnavailable("the answer was lost")
        return reply

    async def _read(self, key: str, *command: Argument) -> Any:
        """Through the near cache's books, as the real client reads."""
        assert self._near is not None
        reply = self._loop.create_future()
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
        return await self._call(command[0] in WRITES, lambda client: client.execute(key, *command))

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
        return await self.run(script, keys, args), 0

    def shards(self) -> Sequence[str]:
        return ("",)

    def standing(self, key: str) -> Standing:
        return self._standing

    @property
    def is_available(self) -> bool:
        return self._node is not None

    def pool_figures(self) -> PoolFigures:
        return PoolFigures(0, 0, 1, 0)
