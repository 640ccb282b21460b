"""The state machine of the promise (machine.py), and two kinds of it that have more faults or more parts."""

from __future__ import annotations

import asyncio

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import rule

from .machine import Kept, Promise, a_worker, as_test

pytestmark = pytest.mark.impatient


class PromiseWithoutJournal(Promise):
    """The journal can be cut off too, from each worker by itself; then `JOURNAL_REQUIRED` is what keeps the promise."""

    journal_required = True

    @rule(worker=a_worker, cut=st.booleans())
    def link_to_journal(self, worker: int, *, cut: bool) -> None:
        self.world.workers[worker].journal.is_cut = cut


class PromiseWithCaches(Promise):
    """Every worker keeps copies of sessions, and news of changes takes its time, or stands still."""

    caches = True

    @rule(worker=a_worker, lag=st.sampled_from([0.0, 0.005, 0.03, 0.1, 0.4]))
    def lag(self, worker: int, lag: float) -> None:
        self.world.workers[worker].client.lag = lag

    @rule(kept=Promise.sessions, worker=a_worker, times=st.integers(2, 20), pause=st.sampled_from([0.002, 0.01]))
    def begin_busy_loads(self, kept: Kept, worker: int, times: int, pause: float) -> None:
        """A worker is asked without pause: only then are copies used."""

        async def busy() -> None:
            for _ in range(times):
                await self._load(kept, worker)
                await asyncio.sleep(pause)

        self.under_way.append(self.world.start(busy()))


TestPromise = as_test(Promise)
TestPromiseWithCaches = as_test(PromiseWithCaches)
TestPromiseWithoutJournal = as_test(PromiseWithoutJournal)
