"""May this session be trusted now?

A store is *settled* if it is the primary for certain and the journal has been replayed into it. A session from a settled
store is good unless the tail has its end: this check takes two comparisons and two reads of dictionaries in memory. Any other
session, from a store that is not settled or from a credential alone, is good only if a lookup in the journal, sent after the
request came, finds no end. If neither can be known, the response is 503.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from ...errors import DatabaseUnavailable, StoreUnavailable
from ..model.lifetimes import FUTURE_MS

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ...backend.standing import Glimpse
    from ..journal.lookup import Lookup
    from ..journal.tail import Tail
    from ..model.clock import Clock
    from ..model.credential import Credential
    from ..model.deployment import Current, Deployment
    from ..model.identity import SessionRef
    from ..model.sighting import Sighting
    from ..store.session_store import SessionStore
    from .epochs import Epochs
    from .lease import Lease
    from .membership import Membership
    from .replay import Replay

StoreState = Literal["settled", "unsettled", "read_only", "away"]


class Trust:
    """One worker's rules. `has_journal`: false without a journal; then only the store decides.

    `degraded_ms`: how long a credential is good without the store. `is_journal_required`: a settled store alone is not enough.
    `seals_former`: this host seals format 1. Values of format 1 are never trusted alone.
    """

    def __init__(
        self,
        *,
        tail: Tail,
        lookup: Lookup,
        replay: Replay,
        membership: Membership,
        epochs: Epochs,
        deployment: Deployment,
        clock: Clock,
        lease: Lease,
        has_journal: bool,
        is_journal_required: bool,
        degraded_ms: int,
        seals_former: bool = False,
    ) -> None:
        self._tail = tail
        self._lookup = lookup
        self._replay = replay
        self._membership = membership
        self._epochs = epochs
        self._deployment = deployment
        self._clock = clock
        self._lease_seconds = lease.seconds
        self._degraded_ms = degraded_ms
        self._seals_former = seals_former
        self._is_journal_required = is_journal_required
        self.has_journal = has_journal

    def vouches(self, glimpse: Glimpse, ref: SessionRef, generation: int, epoch: str, now: float) -> bool:
        """Whether the store is settled over this connection, the tail is fresh, and the tail has no end of the session.

        `now`: by the monotonic clock.
        """
        tail = self._tail
        return (
            now < glimpse.standing.believed_until
            and now - tail.read_at < self._lease_seconds
            and self._replay.covers(glimpse)
            and epoch == self._deployment.epoch
            and ref not in tail.ended
            and (ref.user not in tail.generations or (tail.generations[ref.user].generation or 0) <= generation)
            and not tail.unwritten
            and tail.restored is None
        )

    def is_settled(self, glimpse: Glimpse) -> bool:
        """Whether every other worker sees the same as came over this connection."""
        return glimpse.standing.is_believed and (not self.has_journal or self._replay.covers(glimpse))

    async def why_ended(self, glimpse: Glimpse, ref: SessionRef, carried: Current) -> str | None:
        """Why a session in the store must not be trusted; None if it is good.

        Raises `StoreUnavailable`, `DatabaseUnavailable` if that cannot be known.
        """
        if not self.has_journal:
            return None
        self.check_store()
        self._replay.hurry_unless_covered(glimpse)
        if self.is_settled(glimpse):
            await self._freshen()
            has_epoch = await self._has_epoch(glimpse, carried.epoch)
            if has_epoch and self._tail.restored is None and self.is_settled(glimpse):
                return self._tail.reason(ref, carried)
        return await self.why_ended_by_journal(ref, carried)

    def generation_read(self, user: str) -> int:
        """The highest generation of the user in the rows that the tail has read."""
        row = self._tail.generations.get(user)
        return 0 if row is None else row.generation or 0

    def went_back(self) -> DatabaseUnavailable:
        """The journal contradicts rows that the tail has read: it was restored, in part. The tail starts over."""
        self._tail.start_over()
        return DatabaseUnavailable("the user database was restored")

    def check_store(self) -> None:
        """Raises `StoreUnavailable` if another deployment has taken Redis over. Nothing may be read there or written."""
        if self._membership.is_foreign:
            raise StoreUnavailable("Redis holds the sessions of another deployment", kind="refused")

    async def why_ended_by_journal(self, ref: SessionRef, carried: Current) -> str | None:
        """Why the session has ended, by a lookup now. `carried`: its generation and epoch. Raises `DatabaseUnavailable`."""
        return self._tail.reason(ref, carried) or await self._lookup.ask(ref, carried)

    def confirmed_ms(self, credential: Credential, sighting: Sighting) -> int:
        """When the credential's session was last known to be good. A legacy credential alone proves nothing.

        An access token is good for its own few minutes. A sighting of its session does not make that longer.
        """
        if not credential.token:
            return credential.issued_at
        return sighting.seen_ms if credential.is_legacy else max(credential.issued_at, sighting.seen_ms)

    def is_good_alone(self, credential: Credential, sighting: Sighting) -> bool:
        """Whether a signed-in user's credential may be trusted without the store: it was confirmed not long ago.

        If Redis' time went back, a confirmation from before looks younger than it is. It does not count.
        The same is true if the end of the session may have been pruned. The tail's rows say both, so it must have been read.
        """
        if not self._degraded_ms or not self.has_journal or not credential.user:
            return False
        if (credential.is_legacy and not sighting.seen_ms) or not self._tail.has_read:
            return False
        now, confirmed_ms = self._clock.now_ms(), self.confirmed_ms(credential, sighting)
        return (
            credential.issued_at <= now + FUTURE_MS
            and confirmed_ms >= max(self._clock.set_back_ms, self._tail.not_before_ms)
            and now - confirmed_ms <= self._degraded_ms
            and now < sighting.renewed_ms + credential.idle_ms
            and now < credential.deadline
        )

    async def _has_epoch(self, glimpse: Glimpse, epoch: str) -> bool:
        """Whether this is the deployment's epoch: by a fresh tail, or by the settled store while the journal is unavailable."""
        if self._tail.age < self._lease_seconds:
            return epoch == self._deployment.epoch
        return await self._epochs.ask(glimpse, not_before=time.monotonic() - self._lease_seconds) == epoch

    @property
    def carries_degraded(self) -> bool:
        """Whether a session can live in its credential alone until the store has it."""
        return self.has_journal and self._degraded_ms > 0 and not self._seals_former

    def state(self, client: RedisClient, store: SessionStore) -> StoreState:
        """The store as this worker sees it. It is settled if every shard is settled, and away if no shard was ever connected."""
        if not client.is_available:
            return "away"
        if store.is_refusing:
            return "read_only"
        standings = [client.standing(shard) for shard in client.shards()]
        if standings and all(self.is_settled(each.glimpse) for each in standings):
            return "settled"
        return "unsettled" if any(each.believed_until or each.connection_epoch for each in standings) else "away"

    async def _freshen(self) -> None:
        """Read a stale tail first. If the journal is unavailable, a settled store is trusted alone."""
        if self._tail.age < self._lease_seconds:
            return
        try:
            await self._tail.catch_up_if_there()
        except DatabaseUnavailable:
            if self._is_journal_required:
                raise
