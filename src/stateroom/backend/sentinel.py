"""Finding the primary through Sentinels, and hearing of failovers.

Every Sentinel has one connection, over which it is asked five times a second and tells of `+switch-master` (RESP3
carries both). All are asked at once, so that one that hangs delays nobody. The answer with the highest config epoch
counts: an old primary that was cut off is still named by the Sentinel on its side. A Sentinel names a replica that
it has just promoted about a second before it announces it, so asking finds it first; listening finds what nobody
asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from ..settings import Address
from .breaker import Breaker
from .multiplexer import Multiplexer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..telemetry.metrics import Metrics
    from .dial import Dialer

log = structlog.get_logger(__name__)

ASK_INTERVAL_SECONDS = 0.2
ASK_TIMEOUT_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Sentinel says of the primary. `asked_at`: of the monotonic clock, when the question was sent."""

    primary: Address
    epoch: int
    asked_at: float


class Sentinel:
    """One Sentinel: its connection, and what it said last."""

    def __init__(self, address: Address, service: str, dialer: Dialer, on_switch: Callable[[], None]) -> None:
        self.address = address
        self.answer: Answer | None = None
        self.fault = "not asked yet"
        self._service = service
        self._dialer = dialer
        self._on_switch = on_switch
        self._multiplexer = Multiplexer(
            self._open,
            Breaker(),
            read_timeout=ASK_TIMEOUT_SECONDS,
            connect_timeout=dialer.dial_timeout + ASK_TIMEOUT_SECONDS,
            on_push=self._hear,
        )

    async def start(self) -> None:
        await self._multiplexer.start()

    async def aclose(self) -> None:
        await self._multiplexer.aclose()

    async def ask(self) -> Answer | None:
        """Who the primary is; None, and `fault`, where it does not say."""
        asked_at = time.monotonic()
        try:
            named, state = await asyncio.gather(
                self._multiplexer.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
                self._multiplexer.execute("SENTINEL", "MASTER", self._service),
            )
            self.answer = _answer(named, state, asked_at)
            self.fault = ""
        except StoreUnavailable as fault:
            self.answer, self.fault = None, fault.detail
        except (RedisError, KeyError, ValueError, TypeError) as error:
            self.answer, self.fault = None, f"{str(error) or type(error).__name__} (REDIS_MASTER_NAME is {self._service})"
        return self.answer

    async def _open(self) -> AbstractConnection:
        """Connect and subscribe: the confirmation is a push, which must not be taken for a command's reply."""
        connection = await self._dialer.dial(self.address)
        try:
            await connection.send_command("SUBSCRIBE", "+switch-master", check_health=False)
            await connection.read_response(push_request=True)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _hear(self, push: list[Any]) -> None:
        if push[0] == b"message" and push[2].split(b" ", 1)[0].decode() == self._service:
            self._on_switch()


class SentinelWatcher:
    """All Sentinels of one primary. `on_switch(primary)` is called when another server is to be believed."""

    def __init__(
        self,
        addresses: Sequence[Address],
        service: str,
        dialer: Dialer,
        metrics: Metrics,
        on_switch: Callable[[Address], Awaitable[None]],
    ) -> None:
        self._asked_early = asyncio.Event()
        self.sentinels = [Sentinel(address, service, dialer, self._asked_early.set) for address in addresses]
        self._metrics = metrics
        self._on_switch = on_switch
        self._task: asyncio.Task[None] | None = None
        self.primary: Address | None = None
        self.highest_epoch = -1

    async def start(self) -> None:
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))
        await self.ask_all()
        self._task = asyncio.create_task(self._watch(), name="stateroom sentinel watcher")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinels))

    async def locate(self) -> Address:
        """Who the primary is, asked now. Raises redis-py's `ConnectionError` that names each Sentinel's own cause."""
        await self.ask_all()
        if self.primary is None:
            causes = "; ".join(f"{each.address}: {each.fault}" for each in self.sentinels)
            raise RedisConnectionError(f"no Sentinel names a primary: {causes}")
        return self.primary

    async def ask_all(self) -> None:
        """Ask every Sentinel at once and believe the highest epoch; never one lower than was seen before."""
        answers = [answer for answer in await asyncio.gather(*(each.ask() for each in self.sentinels)) if answer is not None]
        for sentinel in self.sentinels:
            self._metrics.sentinel_up[str(sentinel.address)].set(sentinel.answer is not None)
        if not answers:
            return
        best = max(answers, key=lambda answer: answer.epoch)
        if best.epoch < self.highest_epoch:
            return
        self.highest_epoch = best.epoch
        before, self.primary = self.primary, best.primary
        if before is not None and before != best.primary:
            self._metrics.redis_failovers.inc()
            log.warning("redis_failover", old=str(before), new=str(best.primary), epoch=best.epoch)
            await self._on_switch(best.primary)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_INTERVAL_SECONDS):
                    await self._asked_early.wait()
            self._asked_early.clear()
            await self.ask_all()


def _answer(named: Any, state: Any, asked_at: float) -> Answer:
    if not named:
        raise ValueError("it does not know this primary")
    fields = _fields(state)
    primary = Address(named[0].decode(), int(named[1]))
    epoch = int(fields[b"config-epoch"])
    if primary != Address(fields[b"ip"].decode(), int(fields[b"port"])):
        epoch += 1  # promoted, not announced yet: the epoch it is about to have is a higher one
    return Answer(primary, epoch, asked_at)


def _fields(state: Any) -> dict[bytes, bytes]:
    """RESP3 says a map, older Sentinels a flat list."""
    if isinstance(state, dict):
        return state
    return dict(zip(state[::2], state[1::2], strict=True))
