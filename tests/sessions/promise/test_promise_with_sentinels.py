"""The state machine of the promise (machine.py), with Sentinels that forget and are accepted. Rule 13 of the protocol."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, precondition, rule
from redis.exceptions import ConnectionError as RedisConnectionError

from stateroom.errors import Conflict, DatabaseUnavailable

from .machine import TOKEN_KEY, WORKERS, Promise, a_worker, as_test
from .world import SENTINELS, World

pytestmark = pytest.mark.impatient

a_server = st.integers(0, 2)


class PromiseWithSentinels(Promise):
    """Sentinels are replaced by empty ones, one by one or all together, and may name any server, also one of nobody.

    The old ones still run: a worker may reach them instead of the new ones, and they fail over too. Servers are promoted by
    hand. Administrators accept what the Sentinels say, each by what one host sees, also two at once. Workers are restarted.
    """

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.accepted = 0

    def make_world(self) -> World:
        return World(workers=WORKERS, token_keys=TOKEN_KEY, rebuilt_leases=1)

    @rule(number=st.integers(0, SENTINELS - 1), server=a_server)
    def forget(self, number: int, server: int) -> None:
        self.world.forget(number, (*self.world.nodes, self.world.empty)[server])

    @rule(server=a_server)
    def rebuild_sentinels(self, server: int) -> None:
        self.world.rebuild_sentinels((*self.world.nodes, self.world.empty)[server])

    @rule(worker=a_worker, old=st.booleans())
    def reach_old_sentinels(self, worker: int, *, old: bool) -> None:
        self.world.workers[worker].client.hears_old_sentinels = old

    @rule(server=st.integers(0, 1))
    def old_sentinels_fail_over(self, server: int) -> None:
        epoch = 1 + max(epoch for _, epoch in self.world.named_by_old)
        self.world.named_by_old = [(self.world.nodes[server].address, epoch)] * SENTINELS

    @precondition(lambda self: not self.world.replica.says_master)
    @rule()
    def promote_by_hand(self) -> None:
        self.world.promote_by_hand()

    @rule(worker=a_worker, after=st.sampled_from([0.0, 0.1, 0.7]))
    def accept(self, worker: int, after: float) -> None:
        self.world.do(self._accept(worker, after))

    @rule(worker=a_worker, after=st.sampled_from([0.0, 0.1, 0.7]))
    def begin_accept(self, worker: int, after: float) -> None:
        self.under_way.append(self.world.start(self._accept(worker, after)))

    @rule(worker=a_worker)
    def restart_worker(self, worker: int) -> None:
        self.finish()
        self.world.restart_worker(worker)

    async def _accept(self, worker: int, after: float) -> None:
        try:
            self.accepted += await self.world.accept(worker, after=after)
        except (Conflict, DatabaseUnavailable, RedisConnectionError):
            return


TestPromiseWithSentinels = as_test(PromiseWithSentinels)
