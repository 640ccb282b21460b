"""A client of a Redis Cluster: one `ServerClient` per shard, and who holds which slot.

https://valkey.io/topics/cluster-spec/: MOVED says that a slot has another owner (learn it and ask there), ASK that
one key is being moved right now (ask there once, with ASKING).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError, TryAgainError

from ..errors import SettingsError, StoreUnavailable
from ..settings import Address
from .client import PoolFigures
from .server import ServerClient
from .standing import UNKNOWN, Standing

if TYPE_CHECKING:
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .client import Argument, Command, Script
    from .dial import Dialer

log = structlog.get_logger(__name__)

SLOT_COUNT = 16384
REFRESH_SECONDS = 5.0
REFRESH_PAUSE_SECONDS = 0.2
MAX_REDIRECTIONS = 5
TRY_AGAIN_SECONDS = 0.02

T = TypeVar("T")


class ClusterClient:
    """`RedisClient` of a Cluster."""

    def __init__(self, start_nodes: Sequence[Address], dialer: Dialer, settings: Settings, metrics: Metrics) -> None:
        self._start_nodes = tuple(start_nodes)
        self._dialer = dialer
        self._settings = settings
        self._metrics = metrics
        self._shards: dict[Address, ServerClient] = {}
        self._owners: list[Address | None] = [None] * SLOT_COUNT
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> None:
        await self._refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="stateroom cluster topology")

    async def aclose(self) -> None:
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*(shard.aclose() for shard in self._shards.values()))

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        return self._follow(key, lambda shard: shard.execute(key, *command), [command])

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        asked = [("EVAL", script.source, len(keys), *keys, *args)]
        return await self._follow(keys[0], lambda shard: shard.run(script, keys, args), asked)

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        return await self._on_owner(key, lambda shard: shard.pipeline(key, commands, timeout=timeout))

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        for _ in range(MAX_REDIRECTIONS):
            try:
                return await self._on_owner(
                    keys[0], lambda shard: shard.run_durably(script, keys, args, replicas=replicas, timeout=timeout)
                )
            except MovedError as moved:
                await self._learn(moved)
        raise StoreUnavailable("the Cluster sends us round in circles")

    def shards(self) -> Sequence[str]:
        return tuple(shard_keys(self._owners, len(self._shards)).values())

    def standing(self, key: str) -> Standing:
        owner = self._owners[key_slot(key.encode())]
        shard = self._shards.get(owner) if owner is not None else None
        return UNKNOWN if shard is None else shard.standing(key)

    @property
    def is_available(self) -> bool:
        return bool(self._shards) and all(shard.is_available for shard in self._shards.values())

    def pool_figures(self) -> PoolFigures:
        each = [shard.pool_figures() for shard in self._shards.values()]
        sums = PoolFigures(*(sum(getattr(figures, field.name) for figures in each) for field in dataclasses.fields(PoolFigures)))
        return dataclasses.replace(sums, circuit=max((figures.circuit for figures in each), default=0))

    async def _follow(self, key: str, call: Callable[[ServerClient], Awaitable[Any]], asked: Sequence[Command]) -> Any:
        """Call the owner of a key, wherever the Cluster sends us."""
        for _ in range(MAX_REDIRECTIONS):
            try:
                return await self._on_owner(key, call)
            except MovedError as moved:  # before AskError, its base
                await self._learn(moved)
            except AskError as ask:
                shard = await self._shard(Address(ask.host, ask.port))
                reply = (await shard.pipeline(key, [("ASKING",), *asked]))[-1]
                if isinstance(reply, TryAgainError):
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
                    continue
                if isinstance(reply, Exception):
                    raise reply from None
                return reply
            except TryAgainError:  # a slot half moved: nothing announces its end
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        raise StoreUnavailable("the Cluster sends us round in circles")

    async def _on_owner(self, key: str, call: Callable[[ServerClient], Awaitable[T]]) -> T:
        owner = self._owners[key_slot(key.encode())]
        shard = self._shards.get(owner) if owner is not None else None
        if shard is None:
            self._stale.set()
            raise StoreUnavailable("no primary is known for this slot of the Cluster")
        try:
            return await call(shard)
        except StoreUnavailable:
            self._stale.set()
            raise

    async def _learn(self, moved: MovedError) -> None:
        address = Address(moved.host, moved.port)
        await self._shard(address)
        self._owners[moved.slot_id] = address
        self._stale.set()

    async def _shard(self, address: Address) -> ServerClient:
        shard = self._shards.get(address)
        if shard is None:
            shard = ServerClient(lambda: self._dialer.dial(address, must_be_primary=True), self._settings, self._metrics)
            self._shards[address] = shard
            await shard.start()
        return shard

    async def _keep_fresh(self) -> None:
        while not self._is_closed:  # redis-py may swallow a cancellation that comes while it connects
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._stale.wait()
            await self._refresh()
            self._stale.clear()
            await asyncio.sleep(REFRESH_PAUSE_SECONDS)

    async def _refresh(self) -> None:
        """Learn who holds which slots, from the first node that says."""
        causes = []
        for address in dict.fromkeys([*self._shards, *self._start_nodes]):
            try:
                ranges = await self._ask(address)
            except SettingsError:
                raise
            except (RedisError, OSError, TimeoutError) as error:
                causes.append(f"{address}: {str(error) or type(error).__name__}")
                continue
            await self._take(ranges)
            return
        log.warning("cluster_unreachable", causes="; ".join(causes))

    async def _ask(self, address: Address) -> list[tuple[int, int, Address]]:
        connection = await self._dialer.dial(address)
        try:
            await connection.send_command("CLUSTER", "SLOTS", check_health=False)
            reply: list[Any] = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        # An empty host means: the one you asked.
        return [
            (int(low), int(high), Address((node[0] or b"").decode() or address.host, int(node[1]))) for low, high, node, *_ in reply
        ]

    async def _take(self, ranges: list[tuple[int, int, Address]]) -> None:
        primaries = {primary for _, _, primary in ranges}
        for primary in primaries:
            await self._shard(primary)
        for low, high, primary in ranges:
            self._owners[low : high + 1] = [primary] * (high - low + 1)
        for gone in set(self._shards) - primaries:
            await self._shards.pop(gone).aclose()


def shard_keys(owners: Sequence[Address | None], count: int) -> dict[Address, str]:
    """For each of `count` primaries a key that it holds, always the same one; `owners` by slot."""
    keys: dict[Address, str] = {}
    for number in range(SLOT_COUNT):
        owner = owners[key_slot(str(number).encode())]
        if owner is not None:
            keys.setdefault(owner, str(number))
        if len(keys) == count:
            break
    return keys
