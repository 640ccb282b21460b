"""Finds the primary through Sentinels, notices failovers, and decides how long the primary may be trusted.

Each Sentinel is asked over a connection of its own (one_sentinel.py). The reply with the highest config epoch counts,
because a Sentinel beside an old primary that was cut off still names that primary. A Sentinel names a promoted replica about
one second before it announces it, so questions find a failover first. Announcements find a failover between two questions.

One Sentinel is enough to connect. Before a worker trusts the primary, a majority of the Sentinels must have named it for
a whole lease, the last time in reply to a question that was sent less than a lease ago. Two majorities cannot name
different primaries. So when one worker has seen the new primary named for a lease, no worker trusts the old one. Sentinels that
were rebuilt from nothing break this rule. Therefore the user database keeps the epoch and the primary too (agreement.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ..logs import get_logger
from ..settings import Address
from ..settings.places import parse_address
from .agreement import Agreement
from .one_sentinel import Answer, Sentinel

if TYPE_CHECKING:
    from ..telemetry.metrics import Metrics
    from .dial import Dialer, LiveDialer

log = get_logger(__name__)

REBUILT_LEASES = 10
"""How many leases a majority must agree on a lower epoch, before the Sentinels count as rebuilt. Sentinels that were restarted
together learn the epoch from another one within two seconds."""
EXAMINE_INTERVAL_SECONDS = 1.0
ACCEPT = "if this primary is right, run `stateroom sentinels accept`; until then sign-outs take a lease"
RESTART = "if this primary is right, restart every worker; until then sign-outs take a lease"
REFUSED = "check that the Sentinels watch this deployment's primary; the worker keeps the primary that it knows"


class Named(NamedTuple):
    """A primary as Sentinels name it, with its config epoch."""

    epoch: int
    primary: Address


class SentinelWatcher:
    """All Sentinels of one primary.

    `on_switch(primary)` is called when they name another primary, `on_update()` after every question to one of them.
    `examine(primary)` connects to a server, and raises if it is not a primary of this deployment.

    `primary`: the last primary that was named with the highest epoch, or that was examined after the Sentinels were rebuilt.
    Before the first of them it is the agreed one, or None. It never becomes None again.
    `highest_epoch`: the highest config epoch in any reply so far. Within one base it never decreases; -1 before the first reply.
    `rebuilt`: what the Sentinels name although a higher epoch is known, since they were rebuilt; None in good times.
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
        agreement: Agreement | None = None,
        examine: Callable[[Address], Awaitable[None]] | None = None,
    ) -> None:
        self._lease_seconds = lease_seconds
        self.sentinels = [Sentinel(address, service, dialer, self._update, lease_seconds=lease_seconds) for address in addresses]
        self._metrics = metrics
        self._on_switch = on_switch
        self._on_update = on_update
        self._agreement = agreement or Agreement(lease_seconds=lease_seconds)
        self._agreement.on_change = self._reconsider
        self._examine = examine
        # Set after every question to a Sentinel.
        self._updated = asyncio.Event()
        # What a majority names now; None without a majority.
        self._named: Named | None = None
        # Since when a majority names it without a gap: _named_since <= now. Without a majority it means nothing.
        self._named_since = 0.0
        # One lease after the oldest question of the majority's replies: _majority_until <= now + lease. 0 without a majority.
        self._majority_until = 0.0
        # Since when a majority names a lower epoch than the known one, and no reply contradicts; None if that is not so.
        self._lower_since: float | None = None
        # The base in which `highest_epoch` was seen.
        self._base: int | None = None
        # Set exactly while `rebuilt` names another primary than `primary`.
        self._is_examination_due = asyncio.Event()
        # The last reason why that other primary is not used.
        self._refusal = ""
        # None before `start`.
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self.primary: Address | None = None
        self.highest_epoch = -1
        self.rebuilt: Named | None = None

    @property
    def believed_until(self) -> float:
        """Until when no other server can be the primary; 0 if this is not certain now.

        A majority must have named `primary` for a whole lease, and the deployment's workers must have agreed on it.
        """
        named = self._named
        if named is None or named.primary != self.primary or time.monotonic() - self._named_since < self._lease_seconds:
            return 0.0
        is_agreed = self._agreement.allows(named.epoch, str(named.primary), highest=self.highest_epoch)
        return self._majority_until if is_agreed else 0.0

    async def start(self) -> None:
        """Begin to ask all Sentinels."""
        self._task = asyncio.create_task(self._keep_examining(), name="stateroom rebuilt sentinels")
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))

    async def aclose(self) -> None:
        """Stop asking and close all connections."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
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

    async def ask_all(self) -> None:
        """Ask all Sentinels now. Return when every question has a reply or failed."""
        asked = time.monotonic()
        for sentinel in self.sentinels:
            sentinel.ask_now()
        while any(each.finished_at < asked for each in self.sentinels):
            self._updated.clear()
            await self._updated.wait()

    @property
    def majority(self) -> int:
        """How many Sentinels are a majority of the configured ones."""
        return len(self.sentinels) // 2 + 1

    async def examine_rebuilt(self) -> None:
        """Follow rebuilt Sentinels to the primary that they name, if it is a primary of this deployment."""
        rebuilt = self.rebuilt
        if rebuilt is None or rebuilt.primary == self.primary or self._examine is None:
            self._is_examination_due.clear()
            return
        try:
            await self._examine(rebuilt.primary)
        except (RedisError, OSError, TimeoutError) as error:
            self._refuse(rebuilt, str(error) or type(error).__name__)
            return
        if self.rebuilt == rebuilt:
            self._is_examination_due.clear()
            self._set_primary(rebuilt.primary, rebuilt.epoch)
            self._on_update()

    def _is_decided(self, since: float) -> bool:
        finished = [each for each in self.sentinels if each.finished_at >= since]
        agreeing = [each for each in finished if each.answer is not None and each.answer.primary == self.primary]
        return len(finished) == len(self.sentinels) or len(agreeing) >= self.majority

    async def _keep_examining(self) -> None:
        while not self._is_closed:  # redis-py may swallow a cancellation that comes while it connects
            await self._is_examination_due.wait()
            await self.examine_rebuilt()
            if self._is_examination_due.is_set() and not self._is_closed:
                await asyncio.sleep(EXAMINE_INTERVAL_SECONDS)

    def _update(self) -> None:
        """Judge all replies again, after one of them has changed."""
        now = time.monotonic()
        answers = [each.answer for each in self.sentinels if each.answer is not None]
        for sentinel in self.sentinels:
            self._metrics.sentinel_up[str(sentinel.address)].set(sentinel.answer is not None)
        self._time_majority(answers, now)
        self._follow_highest(answers)
        self._look_for_rebuilt(answers, now)
        self._on_update()
        self._updated.set()

    def _time_majority(self, answers: Sequence[Answer], now: float) -> None:
        """Note what a majority names, and for how long that is known."""
        asked: dict[Named, list[float]] = {}
        for answer in answers:
            asked.setdefault(Named(answer.epoch, answer.primary), []).append(answer.asked_at)
        named = next((each for each, moments in asked.items() if len(moments) >= self.majority), None)
        # Without a majority the lease begins again with the next one.
        if named != self._named or self._majority_until < now:
            self._named_since = now
        self._named = named
        self._majority_until = 0.0
        if named is not None:
            self._majority_until = sorted(asked[named], reverse=True)[self.majority - 1] + self._lease_seconds

    def _follow_highest(self, answers: Sequence[Answer]) -> None:
        """Take the primary with the highest epoch; of several, the one that most Sentinels name. The epoch never decreases.

        A single Sentinel that still has the known epoch does not lead back from rebuilt Sentinels that are followed.
        """
        self._agreement.want_nothing()
        overruled = self._agreement.overruled
        if len(answers) == len(self.sentinels) and all((each.epoch, str(each.primary)) != overruled for each in answers):
            self._agreement.forget_overruled()
        answers = [each for each in answers if (each.epoch, str(each.primary)) != overruled]
        best = max((answer.epoch for answer in answers), default=-1)
        if best < self.highest_epoch or not answers:
            return
        votes = Counter(answer.primary for answer in answers if answer.epoch == best)
        primary = max(votes, key=lambda primary: (votes[primary], primary == self.primary))
        if self._agreement.contradicts(best, str(primary)):
            return
        if self.rebuilt is not None and best == self.highest_epoch and votes[primary] < self.majority:
            return
        self.highest_epoch = best
        self._set_rebuilt(None)
        self._set_primary(primary, best)
        if self._named == (best, primary):
            self._agreement.want(best, str(primary))

    def _look_for_rebuilt(self, answers: Sequence[Answer], now: float) -> None:
        """Find out whether the Sentinels were rebuilt: a majority agrees on a lower epoch for long, and no reply contradicts."""
        named = self._named
        is_lower = named is not None and (
            named.epoch < self.highest_epoch or self._agreement.contradicts(named.epoch, str(named.primary))
        )
        if named is None or not is_lower or any((each.epoch, each.primary) != named for each in answers):
            self._lower_since = None
            return
        if self._lower_since is None or self._named_since == now:
            self._lower_since = now
        if self.rebuilt != named and now - self._lower_since >= REBUILT_LEASES * self._lease_seconds:
            self._set_rebuilt(named)

    def _set_rebuilt(self, named: Named | None) -> None:
        if named == self.rebuilt:
            return
        self.rebuilt, self._refusal = named, ""
        known = self._agreement.known
        # One Sentinel alone may have named a higher epoch and have been lost. Then the others name what the workers agreed on.
        is_agreed = named is not None and known is not None and known[1:] == (named.epoch, str(named.primary))
        self._metrics.sentinels_rebuilt.set(named is not None and not is_agreed)
        if named is not None and named.primary != self.primary:
            self._is_examination_due.set()
        if named is not None and not is_agreed:
            log.warning(
                "sentinels_rebuilt",
                epoch=named.epoch,
                known_epoch=self.highest_epoch,
                primary=str(named.primary),
                fix=ACCEPT if self._agreement.has_database else RESTART,
            )

    def _refuse(self, rebuilt: Named, reason: str) -> None:
        if reason != self._refusal and self.rebuilt == rebuilt:
            self._refusal = reason
            log.warning("rebuilt_sentinels_refused", primary=str(rebuilt.primary), reason=reason, fix=REFUSED)

    def _reconsider(self) -> None:
        """The workers have agreed on something else."""
        known = self._agreement.known
        if known is not None and known.base != self._base:
            is_accepted = self._base is not None
            self._base = known.base
            if is_accepted:
                log.warning("sentinels_accepted", base=known.base, epoch=known.epoch, primary=known.primary)
                self.highest_epoch = known.epoch
            self.highest_epoch = max(self.highest_epoch, known.epoch)
        if self.primary is None and known is not None and known.primary is not None:
            self.primary = parse_address(known.primary)
        self._update()

    def _set_primary(self, primary: Address, epoch: int) -> None:
        before, self.primary = self.primary, primary
        if before is not None and before != primary:
            self._metrics.redis_failovers.inc()
            log.warning("redis_failover", old=str(before), new=str(primary), epoch=epoch)
            self._on_switch(primary)
