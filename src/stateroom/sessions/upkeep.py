"""Regular tasks of one process: sweep, compare clocks, prune the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .journal.two_looks import BEYOND_DEGRADED_SECONDS, TwoLooks

if TYPE_CHECKING:
    from .wiring import Parts

PRUNED_AT_ONCE = 5000


class Upkeep:
    """The regular tasks of one process. Each raises `StoreUnavailable` or `DatabaseUnavailable`, and can be tried again."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looks = TwoLooks(parts.settings.degraded_max_age + BEYOND_DEGRADED_SECONDS)

    @property
    def sweeps(self) -> bool:
        """Whether this process is the one of the deployment that sweeps and replays the journal each second."""
        return self._parts.replay.sweeps

    async def calibrate(self) -> None:
        """Compare this host's clock with Redis'. If Redis' time went back, the journal tells workers that start later."""
        clock, journal = self._parts.clock, self._parts.journal
        await clock.calibrate(self._parts.client, self._parts.key_names.sweeper)
        if journal.has_journal and clock.set_back_ms > self._parts.tail.not_before_ms:
            await journal.note_set_back(clock.set_back_ms, sealed_until=clock.set_back_from_ms)

    async def flush_ends(self) -> None:
        """Commit the ends that were acknowledged while the journal was unavailable."""
        await self._parts.ends.flush()

    async def prune_journal(self) -> int:
        """Delete journal rows that no session needs any more, at most `PRUNED_AT_ONCE`. Returns how many.

        Every worker looks at the clocks, because each tail forgets such rows too. Only the sweeping worker deletes rows.
        """
        parts = self._parts
        if not parts.journal.has_journal:
            return 0
        due_at = self._looks.look(database_ms=await parts.journal.now_ms(), redis_ms=parts.clock.now_ms())
        if due_at is None:
            return 0
        parts.tail.forget_due(due_at)
        return await parts.journal.prune(due_at, PRUNED_AT_ONCE) if self.sweeps else 0

    async def look_whose(self) -> None:
        """Check that Redis belongs to this deployment, and write the deployment's id back if Redis has lost it."""
        await self._parts.membership.look_at_all()

    async def end_unknown_users(self) -> None:
        """End the sessions of users whom the user database does not know, once that is certain."""
        await self._parts.unknown_users.turn(sweeps=self.sweeps)

    async def claim_sweep(self, worker: str, *, hold_ms: int) -> bool:
        """Become the process that sweeps, unless another one is it. Returns whether this process is it now."""
        replay = self._parts.replay
        replay.sweeps = False
        replay.sweeps = await self._parts.store.claim_sweep(worker, hold_ms=hold_ms)
        return replay.sweeps

    async def sweep(self, *, share: int = 1) -> int:
        """Clear expired sessions out of the indexes and count them; one call does a `share`-th of them. Returns how many."""
        return await self._parts.sweeper.sweep(share=share)
