"""Finding the primary through Sentinels, hearing of failovers, and how far to trust what they say.

Every Sentinel has one connection, over which it is asked five times a second and tells of `+switch-master` (RESP3
carries both). Each is asked at its own pace, so that one that hangs delays nobody. The answer with the highest config
epoch counts: an old primary that was cut off is still named by the Sentinel on its side. A Sentinel names a replica
that it has just promoted about a second before it announces it, so asking finds it first; listening finds what nobody
asked about.

One Sentinel is enough to connect. To believe the primary takes a majority that has named it for a whole lease, the
last time in a question sent less than a lease ago: two majorities cannot name different primaries, so once a worker
has seen the new one named for a lease, no worker anywhere believes the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from ..settings import SHORTEST_LEASE_SECONDS, Address
from .breaker import Breaker
from .multiplexer import Multiplexer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..telemetry.metrics import Metrics
    from .dial import Dialer

log = structlog.get_logger(__name__)

ASK_INTERVAL_SECONDS = 0.2
ASK_TIMEOUT_SECONDS = 0.3
assert ASK_INTERVAL_SECONDS < SHORTEST_LEASE_SECONDS, "a primary could not stay settled: its lease ends before the next answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Sentinel says of the primary. `asked_at`: of the monotonic clock, when the question was sent."""

    primary: Address
    epoch: int
    asked_at: float


class Sentinel:
    """One Sentinel: its connection, and what it said last. `on_answer` is called after each question.

    `spoken_at`: when the last question was sent that was answered or failed.
    """

    def __init__(self, address: Address, service: str, dialer: Dialer, on_answer: Callable[[], None]) -> None:
        self.address = address
        self.answer: Answer | None = None
        self.fault = "not asked yet"
        self.spoken_at = 0.0
        self._service = service
        self._dialer = dialer
        self._on_answer = on_answer
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._multiplexer = Multiplexer(
            self._open,
            Breaker(),
            read_timeout=ASK_TIMEOUT_SECONDS,
            write_timeout=ASK_TIMEOUT_SECONDS,
            connect_timeout=dialer.dial_timeout + ASK_TIMEOUT_SECONDS,
            on_push=self._hear,
        )

    async def start(self) -> None:
        await self._multiplexer.start()
        self._task = asyncio.create_task(self._keep_asking(), name=f"stateroom sentinel {self.address}")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._multiplexer.aclose()

    def ask_now(self) -> None:
        """Don't wait for the interval to pass."""
        self._now.set()

    async def _keep_asking(self) -> None:
        while True:
            asked_at = time.monotonic()
            await self._ask(asked_at)
            self.spoken_at = asked_at
            self._on_answer()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_INTERVAL_SECONDS):
                    await self._now.wait()
            self._now.clear()

    async def _ask(self, asked_at: float) -> None:
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
            self.ask_now()


class SentinelWatcher:
    """All Sentinels of one primary.

    `on_switch(primary)` is called when another server is to be believed, `on_news()` after every answer.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        service: str,
        dialer: Dialer,
        metrics: Metrics,
        *,
        lease_seconds: float,
        on_switch: Callable[[Address], None],
        on_news: Callable[[], None],
    ) -> None:
        self._lease_seconds = lease_seconds
        self.sentinels = [Sentinel(address, service, dialer, self._weigh) for address in addresses]
        self._metrics = metrics
        self._on_switch = on_switch
        self._on_news = on_news
        self._news = asyncio.Event()
        self._named_since = 0.0
        self._majority_until = 0.0
        self.primary: Address | None = None
        self.highest_epoch = -1

    @property
    def believed_until(self) -> float:
        """Until when `primary` may be believed to be the only one; 0 where no majority has named it for a lease."""
        return self._majority_until if time.monotonic() - self._named_since >= self._lease_seconds else 0.0

    async def start(self) -> None:
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))

    async def aclose(self) -> None:
        await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinels))

    async def locate(self) -> Address:
        """Who the primary is, asked now: known when a majority agrees, or all have spoken.

        While no Sentinel answers it is the last one known: its ROLE will say whether it still is one.
        Raises redis-py's `ConnectionError` that names each Sentinel's own cause.
        """
        asked = time.monotonic()
        for sentinel in self.sentinels:
            sentinel.ask_now()
        while not self._is_clear(asked):
            self._news.clear()
            await self._news.wait()
        if self.primary is None:
            causes = "; ".join(f"{each.address}: {each.fault}" for each in self.sentinels)
            raise RedisConnectionError(f"no Sentinel names a primary: {causes}")
        return self.primary

    @property
    def _quorum(self) -> int:
        return len(self.sentinels) // 2 + 1

    def _is_clear(self, since: float) -> bool:
        spoken = [each for each in self.sentinels if each.spoken_at >= since]
        agreeing = [each for each in spoken if each.answer is not None and each.answer.primary == self.primary]
        return len(spoken) == len(self.sentinels) or len(agreeing) >= self._quorum

    def _weigh(self) -> None:
        """Believe the highest epoch, within it the most Sentinels; never an epoch lower than was seen before."""
        now = time.monotonic()
        answers = [each.answer for each in self.sentinels if each.answer is not None]
        for sentinel in self.sentinels:
            self._metrics.sentinel_up[str(sentinel.address)].set(sentinel.answer is not None)
        best = max((answer.epoch for answer in answers), default=-1)
        if best >= self.highest_epoch and answers:
            self.highest_epoch = best
            votes = Counter(answer.primary for answer in answers if answer.epoch == best)
            self._take(max(votes, key=lambda primary: (votes[primary], primary == self.primary)))
        asked = sorted((a.asked_at for a in answers if a.primary == self.primary and a.epoch == self.highest_epoch), reverse=True)
        until = asked[self._quorum - 1] + self._lease_seconds if len(asked) >= self._quorum else 0.0
        if self._majority_until < now:  # it lapsed: a new lease begins with the answer that makes the majority
            self._named_since = now
        self._majority_until = until
        self._on_news()
        self._news.set()

    def _take(self, primary: Address) -> None:
        before, self.primary = self.primary, primary
        if before == primary:
            return
        self._majority_until = 0.0
        if before is not None:
            self._metrics.redis_failovers.inc()
            log.warning("redis_failover", old=str(before), new=str(primary), epoch=self.highest_epoch)
            self._on_switch(primary)


def _answer(named: Any, state: Any, asked_at: float) -> Answer:
    if not named:
        raise ValueError("it does not know this primary")
    # A Sentinel that has promoted a replica has the new epoch at once, though it has announced neither yet.
    return Answer(Address(named[0].decode(), int(named[1])), int(fields_of(state)[b"config-epoch"]), asked_at)


def fields_of(state: Any) -> dict[bytes, bytes]:
    """What a Sentinel says of one server, by field: RESP3 says a map, older Sentinels a flat list."""
    if isinstance(state, dict):
        return state
    return dict(zip(state[::2], state[1::2], strict=True))
