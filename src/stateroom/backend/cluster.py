"""A client of a Redis Cluster: one `ServerClient` for each shard, and a map from slots to shards.

Redirections (https://valkey.io/topics/cluster-spec/):

- MOVED: the slot has another owner. The client remembers the owner and asks it.
- ASK: the slot is being moved now. The client asks the named server once, with ASKING.
- TRYAGAIN: the keys of a script are on both servers. The client asks again until they are on one.

While a slot is being moved its store is not settled, because another server may reply than the one that was asked. The
same is true of a slot whose owner is known from a redirection alone, until the map says so too.
Which owners to believe is in `slot_map.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from ..errors import SettingsError, StoreUnavailable
from ..logs import get_logger
from ..settings import Address
from ..telemetry.loops import keep_going
from .breaker import BreakerState
from .budget import seconds_left
from .client import PoolFigures
from .diagnosis import stops_startup
from .dial import Dialer
from .faults import as_store_fault
from .server import ServerClient
from .shard_keys import shard_keys
from .slot_views import SLOT_COUNT, covered, endpoint, slots_of
from .slot_watch import SlotWatch
from .standing import UNKNOWN, Standing

if TYPE_CHECKING:
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .client import Argument, Command, Script
    from .dial import LiveDialer
    from .slot_questions import Answer

log = get_logger(__name__)

REFRESH_SECONDS = 5.0
UNSURE_REFRESH_SECONDS = 1.0
"""After how long a primary is asked again that says that the Cluster has failed."""
REFRESH_PAUSE_SECONDS = 0.2
MAX_REDIRECTIONS = 5
TRY_AGAIN_SECONDS = 0.01
_HALF_MOVED = "non local key"
"""Part of a script's error if it reads an undeclared key that is already on the other server."""

assert REFRESH_PAUSE_SECONDS < UNSURE_REFRESH_SECONDS < REFRESH_SECONDS, (
    "the slots would be read less often than REFRESH_SECONDS says"
)

T = TypeVar("T")


class ClusterClient:
    """`RedisClient` of a Cluster."""

    def __init__(self, start_nodes: Sequence[Address], dialer: Dialer | LiveDialer, settings: Settings, metrics: Metrics) -> None:
        self._dialer = dialer
        self._settings = settings
        self._metrics = metrics
        # One started client for each address: every primary of the last refresh, and every server that we were sent to.
        self._shards: dict[Address, ServerClient] = {}
        self._watch = SlotWatch(start_nodes, dialer, settings, metrics)
        # `_watch.ranges` by slot, with what redirections told since. Slot -> its primary; None until it is known.
        # len(_owners) == SLOT_COUNT.
        # An owner without a client in `_shards` has left the Cluster: the slot counts as unknown.
        self._owners: list[Address | None] = [None] * SLOT_COUNT
        # Slots that were seen to be moved since the last refresh began, and those with another owner than in the map.
        # 0 <= slot < SLOT_COUNT. Slot -> `_refreshes` when it was seen to be moved; 0 if only the map says so.
        self._moving: dict[int, int] = {}
        # How many refreshes have begun. Never decreases.
        self._refreshes = 0
        # Clients that the last refresh took out of `_shards`. The next refresh closes them.
        self._leaving: list[ServerClient] = []
        # Held while a client is started, so that there is one for each address.
        self._opening: dict[Address, asyncio.Lock] = {}
        # Set while the map may be wrong. It makes the refresh start at once.
        self._stale = asyncio.Event()
        # None until `start` has read the slots once.
        self._task: asyncio.Task[None] | None = None
        # Never becomes False again.
        self._is_closed = False

    async def start(self) -> None:
        answers = await self._refresh()
        if not self._watch.ranges:
            dialer = Dialer.to_servers(self._settings)
            for error in answers.values():
                if isinstance(error, Exception) and (line := stops_startup(error, dialer)) is not None:
                    raise SettingsError(line) from error
            await self._watch.tell_start(answers)
        topology = keep_going(self._keep_refreshing, "cluster topology", self._metrics)
        self._task = asyncio.create_task(topology, name="stateroom cluster topology")

    async def aclose(self) -> None:
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._watch.aclose()
        await asyncio.gather(*(shard.aclose() for shard in [*self._shards.values(), *self._leaving]))

    def execute(self, key: str, *command: Argument) -> Awaitable[Any]:
        return self._follow(key, lambda shard: shard.execute(key, *command), lambda shard: self._ask_once(shard, key, [command]))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        asked = ("EVAL", script.source, len(keys), *keys, *args)
        return await self._follow(
            keys[0], lambda shard: shard.run(script, keys, args), lambda shard: self._ask_once(shard, keys[0], [asked])
        )

    async def pipeline(self, key: str, commands: Sequence[Command], *, timeout: float | None = None) -> list[Any]:
        return await self._on_owner(self._owner(key), lambda shard: shard.pipeline(key, commands, timeout=timeout))

    async def run_durably(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, replicas: int, timeout: float
    ) -> tuple[Any, int]:
        asked = ("EVAL", script.source, len(keys), *keys, *args)
        wait = ("WAIT", replicas, max(1, int(timeout * 1000)))

        async def run(shard: ServerClient) -> tuple[Any, int]:
            return await shard.run_durably(script, keys, args, replicas=replicas, timeout=timeout)

        async def ask(shard: ServerClient) -> tuple[Any, int]:
            reply, confirmed = await self._ask_at(shard, keys[0], [asked, wait], self._settings.redis_read_timeout + timeout)
            return reply, int(confirmed)

        return await self._follow(keys[0], run, ask)

    def shards(self) -> Sequence[str]:
        return tuple(shard_keys(self._owners, len(self._shards)).values())

    def standing(self, key: str) -> Standing:
        slot = key_slot(key.encode())
        owner = self._owners[slot]
        shard = self._shards.get(owner) if owner is not None else None
        if shard is None or slot in self._moving or (self._watch.unsure and owner in self._watch.unsure):
            return UNKNOWN
        return shard.standing(key)

    @property
    def is_available(self) -> bool:
        return bool(self._shards) and all(shard.is_available for shard in self._shards.values())

    def pool_figures(self) -> PoolFigures:
        each = [shard.pool_figures() for shard in self._shards.values()]
        sums = PoolFigures(*(sum(getattr(figures, field.name) for figures in each) for field in dataclasses.fields(PoolFigures)))
        return dataclasses.replace(sums, circuit=max((figures.circuit for figures in each), default=BreakerState.OPEN.value))

    async def _follow(
        self, key: str, call: Callable[[ServerClient], Awaitable[T]], ask: Callable[[ServerClient], Awaitable[T]]
    ) -> T:
        """Call the owner of a key, and follow the Cluster's redirections. `ask` is called for an ASK redirection."""
        until = time.monotonic() + seconds_left(self._settings.redis_read_timeout)
        moves = 0
        sent_to: Address | None = None
        while moves < MAX_REDIRECTIONS:
            asked = sent_to or self._owner(key)
            try:
                return await (self._on_owner(asked, call) if sent_to is None else ask(await self._shard(sent_to)))
            except MovedError as moved:  # before AskError, its base
                await self._learn(moved, self._redirected(moved, asked))
                moves, sent_to = moves + 1, None
            except AskError as redirected:
                self._doubt(key)
                sent_to = self._redirected(redirected, asked)
            except ResponseError as error:
                if not isinstance(error, TryAgainError) and _HALF_MOVED not in str(error):
                    raise
                self._doubt(key)
                sent_to = None
                await asyncio.sleep(TRY_AGAIN_SECONDS)  # there is no event for the end of a slot's move
            if time.monotonic() > until:
                break
        raise StoreUnavailable("the Cluster is still moving the slot of this key", kind="timeout")

    def _owner(self, key: str) -> Address | None:
        return self._owners[key_slot(key.encode())]

    def _redirected(self, error: AskError, asked: Address | None) -> Address:
        """Where a redirection sends us. `asked`: who sent it. Raises `StoreUnavailable` if that node has no address."""
        assert asked is not None, "a redirection came from nobody"
        address = endpoint(error.host, error.port, asked)
        if address is None:
            self._stale.set()
            raise StoreUnavailable(f"{asked} names a node of the Cluster without an address ({error})")
        return address

    def _doubt(self, key: str) -> None:
        """The key's slot is being moved: each of its keys is on one of two shards."""
        self._moving[key_slot(key.encode())] = self._refreshes
        self._stale.set()

    def _doubt_others_than(self, believed: Sequence[Address | None]) -> None:
        """Doubt the slots with another owner than in the map, and those that were doubted during this refresh, and no other.

        The nodes may have replied before a slot moved that was doubted during the refresh. `believed`: the map's owners.
        """
        self._moving = {slot: number for slot, number in self._moving.items() if number == self._refreshes}
        if self._owners != believed:
            for slot, (owner, named) in enumerate(zip(self._owners, believed, strict=True)):
                if owner != named:
                    self._moving.setdefault(slot, 0)

    async def _ask_once(self, shard: ServerClient, key: str, commands: Sequence[Command]) -> Any:
        return (await self._ask_at(shard, key, commands, None))[-1]

    @staticmethod
    async def _ask_at(shard: ServerClient, key: str, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        """Ask the shard that receives a slot, and return all replies. The first command must name a key of that slot."""
        replies = (await shard.pipeline(key, [("ASKING",), *commands], timeout=timeout))[1:]
        for reply in replies:
            if isinstance(reply, Exception):
                raise as_store_fault(reply) or reply
        return replies

    async def _on_owner(self, owner: Address | None, call: Callable[[ServerClient], Awaitable[T]]) -> T:
        shard = self._shards.get(owner) if owner is not None else None
        if shard is None:
            self._stale.set()
            raise StoreUnavailable("no primary is known for this slot of the Cluster")
        try:
            return await call(shard)
        except StoreUnavailable:
            self._stale.set()
            raise

    async def _learn(self, moved: MovedError, address: Address) -> None:
        await self._shard(address)
        self._owners[moved.slot_id] = address
        self._moving[moved.slot_id] = self._refreshes
        self._stale.set()

    async def _shard(self, address: Address) -> ServerClient:
        """The started client of this server. Many callers may ask for it at the same time."""
        if address not in self._shards:
            async with self._opening.setdefault(address, asyncio.Lock()):
                if address not in self._shards:
                    shard = ServerClient(
                        lambda: self._dialer.dial(address, must_be_primary=True), self._settings, self._metrics, address=address
                    )
                    await self._start(shard, address)
                    self._shards[address] = shard
        return self._shards[address]

    async def _start(self, shard: ServerClient, address: Address) -> None:
        """Start a shard's client. Raises `SettingsError` while this client starts.

        Later the settings are known to work elsewhere, so it is this server's fault, and it counts as unavailable.
        """
        try:
            await shard.start()
        except SettingsError as error:
            if self._task is None:
                await shard.aclose()
                raise
            log.warning("cluster_shard_refuses", shard=str(address), reason=error.detail)
        except BaseException:
            await shard.aclose()
            raise

    async def _keep_refreshing(self) -> None:
        while not self._is_closed:  # redis-py may swallow a cancellation that comes while it connects
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNSURE_REFRESH_SECONDS if self._watch.unsure else REFRESH_SECONDS):
                    await self._stale.wait()
            self._stale.clear()  # before the refresh: a fault during the refresh must start another one
            await self._refresh()
            await asyncio.sleep(REFRESH_PAUSE_SECONDS)

    async def _refresh(self) -> dict[Address, Answer]:
        self._refreshes += 1
        answers = await self._watch.ask(self._shards)
        await self._follow_map()
        return answers

    async def _follow_map(self) -> None:
        """Have a client for each owner that is believed, and no other."""
        ranges = self._watch.ranges
        slots = slots_of(ranges)
        for address, shard in self._shards.items():
            shard.standing("").holds(slots.get(address, 0))
        known = {address: address for address in self._shards}  # the same objects, because lists of them are compared
        primaries = {known.setdefault(address, address) for address in slots}
        believed: list[Address | None] = [None] * SLOT_COUNT
        for each in ranges:
            believed[each.low : each.high + 1] = [known[each.primary]] * (each.high - each.low + 1)
        self._doubt_others_than(believed)

        async def follow(primary: Address) -> None:
            shard = await self._shard(primary)
            shard.standing("").holds(slots[primary])
            for each in ranges:
                if each.primary == primary:
                    self._owners[each.low : each.high + 1] = believed[each.low : each.high + 1]

        await asyncio.gather(*(follow(primary) for primary in primaries))  # one that hangs delays only its own slots
        self._doubt_others_than(believed)
        # A server that was asked a moment ago may still answer. The next refresh closes its client.
        for left in self._leaving:
            await left.aclose()
        if covered(ranges) < SLOT_COUNT:  # redirections may have told more
            primaries.update(owner for owner in self._owners if owner is not None)
        self._leaving = [self._shards.pop(gone) for gone in set(self._shards) - primaries]
        for left in self._leaving:
            left.standing("").lost()
        self._opening = {address: lock for address, lock in self._opening.items() if lock.locked()}
