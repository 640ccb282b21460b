"""Finds the primary through Sentinels, notices failovers, and decides how long the primary may be trusted.

Each Sentinel is asked over a connection of its own (one_sentinel.py). The reply with the highest config epoch counts,
because a Sentinel beside an old primary that was cut off still names that primary. A Sentinel names a promoted replica about
one second before it announces it, so questions find a failover first. Announcements find a failover between two questions.

One Sentinel is enough to connect. Before a worker trusts the primary, a majority of the Sentinels must have named it for
a whole lease, the last time in reply to a question that was sent less than a lease ago. Two majorities cannot name
different primaries. So when one worker has seen the new primary named for a lease, no worker trusts the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError

from ..logs import get_logger
from ..settings import Address
from .one_sentinel import Sentinel

if TYPE_CHECKING:
    from ..telemetry.metrics import Metrics
    from .dial import Dialer, LiveDialer

log = get_logger(__name__)


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
        self.sentinels = [Sentinel(address, service, dialer, self._update, lease_seconds=lease_seconds) for address in addresses]
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
