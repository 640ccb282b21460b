"""The state machine of the promise (machine.py), with clocks that are wrong. Rule 14 of the protocol."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, rule

from .machine import TOKEN_KEY, WORKERS, Kept, Promise, a_worker, as_test
from .world import World

pytestmark = pytest.mark.impatient

DEGRADED_SECONDS, BEYOND_SECONDS = 5, 7.0
"""Short, so that rows are pruned and cookies are too old within a walk."""
AHEAD_SECONDS = 200_000.0
"""Longer than any session lives."""
SKEWS = st.sampled_from([-60.0, -3.0, 0.0, 3.0, 60.0, AHEAD_SECONDS])


class PromiseWithClocks(Promise):
    """Each wall clock jumps by itself, or all together as on one host. Workers are restarted, with the clock they have then.

    Redis' time is set back, or is another one after a failover. Then lost sessions need not return. Nor do they when their
    cookies are older than `DEGRADED_MAX_AGE`.
    """

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.has_jumped = False

    def make_world(self) -> World:
        times = {"degraded_seconds": DEGRADED_SECONDS, "beyond_seconds": BEYOND_SECONDS}
        return World(workers=WORKERS, token_keys=TOKEN_KEY, **times)

    def may_be_lost(self, kept: Kept) -> bool:
        return self.has_jumped or self.world.clock.now - kept.sealed_at > DEGRADED_SECONDS - 1

    @rule(number=st.integers(0, 1), skew=SKEWS)
    def clock_of_redis(self, number: int, skew: float) -> None:
        self.world.nodes[number].skew_seconds = skew
        self.has_jumped = True

    @rule(skew=SKEWS)
    def clock_of_database(self, skew: float) -> None:
        self.world.table.skew_seconds = skew

    @rule(worker=a_worker, skew=SKEWS)
    def clock_of_worker(self, worker: int, skew: float) -> None:
        self.world.workers[worker].skew_seconds = skew

    @rule(skew=SKEWS)
    def clock_of_the_one_host(self, skew: float) -> None:
        for host in (*self.world.nodes, self.world.table, *self.world.workers):
            host.skew_seconds = skew
        self.has_jumped = True

    @rule(pause=st.sampled_from([4.0, 8.0, 15.0]))
    def pass_more_time(self, pause: float) -> None:
        self.world.advance(pause)

    @rule(worker=a_worker)
    def restart_worker(self, worker: int) -> None:
        self.finish()
        self.world.restart_worker(worker)


TestPromiseWithClocks = as_test(PromiseWithClocks)
