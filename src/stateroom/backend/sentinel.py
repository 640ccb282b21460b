"""Finds the primary through Sentinels, notices failovers, and decides how long the primary may be trusted.

There is one connection to each Sentinel. The worker asks five times a second over it, and the Sentinel announces
`+switch-master` over it; RESP3 carries both. Each Sentinel has its own task, so a Sentinel that hangs delays no other.
The reply with the highest config epoch counts, because a Sentinel beside an old primary that was cut off still names
that primary. A Sentinel names a promoted replica about one second before it announces it, so questions find a failover
first. Announcements find a failover between two questions.

One Sentinel is enough to connect. Before a worker trusts the primary, a majority of the Sentinels must have named it for
a whole lease, the last time in reply to a question that was sent less than a lease ago. Two majorities cannot name
different primaries. So when one worker has seen the new primary named for a lease, no worker trusts the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from ..logs import get_logger
from ..settings import SHORTEST_LEASE_SECONDS, Address
from .breaker import Breaker
from .multiplexer import Multiplexer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..telemetry.metrics import Metrics
    from .dial import Dialer, LiveDialer

log = get_logger(__name__)

ASK_INTERVAL_SECONDS = 0.2
ASK_TIMEOUT_SECONDS = 0.3
assert ASK_INTERVAL_SECONDS < SHORTEST_LEASE_SECONDS, "a primary could not stay trusted: its lease ends before the next answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """A Sentinel's reply. It is never changed; the next reply replaces it.

    `epoch`: the Sentinel's config epoch of this primary; `0 <= epoch`.
    `asked_at`: when the question was sent, by the monotonic clock: `asked_at <= now`.
    """

    primary: Address
    epoch: int
    asked_at: float


class Sentinel:
    """One Sentinel: its connection, and its last reply. `on_answer` is called after each question, with or without a reply.

    `answer`: the reply to the last question; None if that question failed.
    `fault`: why the last question failed; empty exactly while there is a reply.
    `first_error`: the error of the first attempt to connect; None before it, and if it succeeded.
    `finished_at`: when the last question that has a reply or a fault was sent. It never decreases; 0 before the first.
    """

    def __init__(self, address: Address, service: str, dialer: Dialer | LiveDialer, on_answer: Callable[[], None]) -> None:
        self.address = address
        self.answer: Answer | None = None
        self.fault = "not asked yet"
        self.first_error: BaseException | None = None
        self.finished_at = 0.0
        self._service = service
        self._dialer = dialer
        self._on_answer = on_answer
        # Set to ask before the interval has passed.
        self._now = asyncio.Event()
        # None before `start`.
        self._task: asyncio.Task[None] | None = None
        self._multiplexer = Multiplexer(
            self._open,
            Breaker(),
            read_timeout=ASK_TIMEOUT_SECONDS,
            write_timeout=ASK_TIMEOUT_SECONDS,
            connect_timeout=dialer.dial_timeout + ASK_TIMEOUT_SECONDS,
            on_push=self._on_announcement,
        )

    async def start(self) -> None:
        """Begin to connect and to ask. Return after the first attempt to connect."""
        self.first_error = await self._multiplexer.start()
        self._task = asyncio.create_task(self._keep_asking(), name=f"stateroom sentinel {self.address}")

    async def aclose(self) -> None:
        """Stop asking and close the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._multiplexer.aclose()

    def ask_now(self) -> None:
        """Send the next question now."""
        self._now.set()

    async def _keep_asking(self) -> None:
        while True:
            asked_at = time.monotonic()
            await self._ask(asked_at)
            self.finished_at = asked_at
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
        """Connect and subscribe. The confirmation is a push message. It is read here, or it would look like a reply."""
        connection = await self._dialer.dial(self.address)
        try:
            await connection.send_command("SUBSCRIBE", "+switch-master", check_health=False)
            await connection.read_response(push_request=True)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _on_announcement(self, push: list[Any]) -> None:
        if push[0] == b"message" and push[2].split(b" ", 1)[0].decode() == self._service:
            self.ask_now()


class SentinelWatcher:
    """All Sentinels of one primary.

    `on_switch(primary)` is called when they name another primary, `on_update()` after every question to one of them.

    `primary`: the last primary that was named with the highest epoch; None before the first reply, never None afterwards.
    `highest_epoch`: the highest config epoch in any reply so far. It never decreases; -1 before the first reply.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        service: str,
        dialer: Dialer | LiveDialer,
        metrics: Metrics,
        *,
        lease_seconds: float,
        on_switch: Callable[[Address], None],
        on_update: Callable[[], None],
    ) -> None:
        self._lease_seconds = lease_seconds
        self.sentinels = [Sentinel(address, service, dialer, self._update) for address in addresses]
        self._metrics = metrics
        self._on_switch = on_switch
        self._on_update = on_update
        # Set after every question to a Sentinel.
        self._updated = asyncio.Event()
        # Since when a majority names `primary` without a gap: _named_since <= now. Without a majority it means nothing.
        self._named_since = 0.0
        # One lease after the oldest question of the majority's replies: _majority_until <= now + lease.
        # 0 if no majority names `primary` with `highest_epoch`.
        self._majority_until = 0.0
        self.primary: Address | None = None
        self.highest_epoch = -1

    @property
    def believed_until(self) -> float:
        """Until when no other server can be the primary; 0 if no majority has named `primary` for a whole lease."""
        return self._majority_until if time.monotonic() - self._named_since >= self._lease_seconds else 0.0

    async def start(self) -> None:
        """Begin to ask all Sentinels."""
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))

    async def aclose(self) -> None:
        """Stop asking and close all connections."""
        await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinels))

    async def locate(self) -> Address:
        """Ask all Sentinels now for the primary. Return when a majority agrees, or every question has a reply or failed.

        If no Sentinel replies, return the last known primary: the caller checks its ROLE.
        If none is known, raise redis-py's `ConnectionError` with the cause for each Sentinel.
        """
        asked = time.monotonic()
        for sentinel in self.sentinels:
            sentinel.ask_now()
        while not self._is_decided(asked):
            self._updated.clear()
            await self._updated.wait()
        if self.primary is None:
            causes = "; ".join(f"{each.address}: {each.fault}" for each in self.sentinels)
            raise RedisConnectionError(f"no Sentinel names a primary: {causes}")
        return self.primary

    @property
    def _majority(self) -> int:
        return len(self.sentinels) // 2 + 1

    def _is_decided(self, since: float) -> bool:
        finished = [each for each in self.sentinels if each.finished_at >= since]
        agreeing = [each for each in finished if each.answer is not None and each.answer.primary == self.primary]
        return len(finished) == len(self.sentinels) or len(agreeing) >= self._majority

    def _update(self) -> None:
        """Take the primary with the highest epoch; of several, the one that most Sentinels name. The epoch never decreases."""
        now = time.monotonic()
        answers = [each.answer for each in self.sentinels if each.answer is not None]
        for sentinel in self.sentinels:
            self._metrics.sentinel_up[str(sentinel.address)].set(sentinel.answer is not None)
        best = max((answer.epoch for answer in answers), default=-1)
        if best >= self.highest_epoch and answers:
            self.highest_epoch = best
            votes = Counter(answer.primary for answer in answers if answer.epoch == best)
            self._set_primary(max(votes, key=lambda primary: (votes[primary], primary == self.primary)))
        asked = sorted((a.asked_at for a in answers if a.primary == self.primary and a.epoch == self.highest_epoch), reverse=True)
        until = asked[self._majority - 1] + self._lease_seconds if len(asked) >= self._majority else 0.0
        if self._majority_until < now:  # there was no majority any more: the lease begins again with this reply
            self._named_since = now
        self._majority_until = until
        self._on_update()
        self._updated.set()

    def _set_primary(self, primary: Address) -> None:
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
        raise ValueError("this Sentinel does not know the primary")
    # A Sentinel that has promoted a replica replies with the new epoch at once, before it announces the replica.
    return Answer(Address(named[0].decode(), int(named[1])), int(fields_of(state)[b"config-epoch"]), asked_at)


def fields_of(state: Any) -> dict[bytes, bytes]:
    """The fields of a Sentinel's reply about one server. It is a map with RESP3 and a flat list with RESP2."""
    if isinstance(state, dict):
        return state
    return dict(zip(state[::2], state[1::2], strict=True))
