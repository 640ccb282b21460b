"""May this session be believed now?

A store is *settled* when it is the primary for certain and the journal is applied to it. A session from a settled
store is good unless the tail has its end, which is two comparisons and two look-ups. Any other session, from a store
in doubt or from a cookie alone, is good only if the journal itself, asked after the request came, does not end it.
Where neither can be known the answer is 503.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import DatabaseUnavailable, StoreUnavailable
from .tail import LEASE_SECONDS

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..backend.standing import Standing
    from .apply import Apply
    from .clock import StoreClock
    from .cookie import Cookie
    from .covering import Covering
    from .keys import Address
    from .store import SessionStore
    from .tail import Tail

StoreState = Literal["settled", "unsettled", "read_only", "away"]


class Honour:
    """The rules of one worker. `is_kept`: there is a journal; without one the store's word is all there is.

    `degraded_ms`: how long a cookie is good without the store. `is_required`: a settled store alone does not do.
    """

    def __init__(
        self,
        tail: Tail,
        covering: Covering,
        apply: Apply,
        clock: StoreClock,
        *,
        is_kept: bool,
        is_required: bool,
        degraded_ms: int,
    ) -> None:
        self._tail = tail
        self._covering = covering
        self._apply = apply
        self._clock = clock
        self._degraded_ms = degraded_ms
        self._is_required = is_required
        self.is_kept = is_kept

    def vouches(self, standing: Standing, serial: int, at: Address, generation: int, now: float) -> bool:
        """Whether all is well: the store is settled over this very connection, and the fresh tail does not end the session.

        `now`: by the monotonic clock.
        """
        tail = self._tail
        return (
            now < standing.believed_until
            and now - tail.read_at < LEASE_SECONDS
            and serial == standing.serial == self._apply.covered.get(standing)
            and at not in tail.ended
            and (at.user not in tail.generations or not tail.generations[at.user].ends(at.user, at.handle, generation))
            and not tail.unwritten
        )

    def is_settled(self, standing: Standing, serial: int) -> bool:
        """Whether what came over this connection is what every other worker sees."""
        if not self.is_kept:
            return standing.is_believed
        if serial == standing.serial == self._apply.covered.get(standing):
            return standing.is_believed
        self._apply.hurry()
        return False

    async def why_ended(self, standing: Standing, serial: int, user: str, handle: str, generation: int) -> str | None:
        """Why a session that the store has is not to be honoured; None where it is good.

        Raises `StoreUnavailable`, `DatabaseUnavailable` where that cannot be known.
        """
        if not self.is_kept:
            return None
        if self._apply.is_foreign:
            raise StoreUnavailable("Redis holds the sessions of another fleet", kind="refused")
        if self.is_settled(standing, serial):
            await self._freshen()
            if self.is_settled(standing, serial):
                return self._tail.reason(user, handle, generation)
        return await self.why_ended_by_journal(user, handle, generation)

    async def why_ended_by_journal(self, user: str, handle: str, generation: int) -> str | None:
        """What the journal, asked now, says of a session. Raises `DatabaseUnavailable`."""
        return self._tail.reason(user, handle, generation) or await self._covering.ask(user, handle, generation)

    def is_good_alone(self, cookie: Cookie) -> bool:
        """Whether a signed-in user's cookie may stand for its session: it was confirmed not long ago."""
        if not self._degraded_ms or not self.is_kept or not cookie.user:
            return False
        now = self._clock.now_ms()
        return now - cookie.confirmed_ms <= self._degraded_ms and now < cookie.renewed_ms + cookie.idle_ms and now < cookie.deadline

    def state(self, client: RedisClient, store: SessionStore) -> StoreState:
        """The store as this worker sees it; of several shards, the worst."""
        if not client.is_available:
            return "away"
        if store.is_refusing:
            return "read_only"
        standings = [client.standing(key) for key in client.shards()]
        if standings and all(self.is_settled(each, each.serial) for each in standings):
            return "settled"
        return "unsettled" if any(each.believed_until or each.serial for each in standings) else "away"

    async def _freshen(self) -> None:
        """A stale tail is read first; where the journal is away, a settled store's word stands."""
        if self._tail.age < LEASE_SECONDS:
            return
        try:
            await self._tail.catch_up_if_there()
        except DatabaseUnavailable:
            if self._is_required:
                raise
