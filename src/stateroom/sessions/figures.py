"""Gauges of what is true now: of this process when somebody reads them, of the fleet every few seconds.

One worker of the fleet, the one that sweeps, counts the live sessions and leaves the number in the store for the
others. So nothing is counted when Prometheus asks, and a hundred workers cost Redis hardly more than one.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from ..backend.info import ask_primaries
from ..errors import Unavailable

if TYPE_CHECKING:
    from ..telemetry.metrics import Metrics
    from .manager import SessionManager

REFRESH_SECONDS = 0.25
"""What a worker that is killed had not told the others yet."""
COUNT_KEPT_MS = 10_000


class Figures:
    """The gauges of one process' manager."""

    def __init__(self, manager: SessionManager, metrics: Metrics) -> None:
        self._manager = manager
        self._metrics = metrics
        metrics.sample(self._sample)

    async def keep_fresh(self) -> None:
        """Have the figures where the other workers of this host find them, until cancelled."""
        while True:
            self._metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def count_sessions(self, *, for_all: bool) -> None:
        """Count the live sessions of the fleet, or take what the worker found that counts."""
        store = self._manager.store
        try:
            if for_all:
                active: float | None = await store.count_active()
                await store.note_active(int(active or 0), kept_ms=COUNT_KEPT_MS)
            else:
                active = await store.noted_active()
        except Unavailable:
            active = None
        self._metrics.sessions_active.set(math.nan if active is None else active)  # no figure, rather than an old one

    async def ask_primaries(self) -> None:
        metrics = self._metrics
        try:
            info = await ask_primaries(self._manager.client)
        except Unavailable:
            info = None
        figures = (math.nan,) * 4 if info is None else (info.evicted_keys, info.memory_used, info.memory_max, info.replicas)
        gauges = (metrics.redis_evicted_keys, metrics.redis_memory_used, metrics.redis_memory_max, metrics.redis_connected_replicas)
        for gauge, figure in zip(gauges, figures, strict=True):
            gauge.set(figure)

    def _sample(self) -> None:
        metrics, manager = self._metrics, self._manager
        try:
            pool = manager.pool_figures()
        except Unavailable:  # not started yet, or closed
            return
        metrics.redis_pool_connections["idle"].set(pool.idle)
        metrics.redis_pool_connections["in_use"].set(pool.in_use)
        metrics.redis_pool_connections_max.set(pool.maximum)
        metrics.redis_pool_pending.set(pool.pending)
        metrics.redis_multiplexer_pending.set(pool.shared_pending)
        metrics.redis_circuit_state.set(pool.circuit)
        metrics.redis_up.set(manager.client.is_available)
        state = manager.store_state()
        for name, gauge in metrics.store_state.items():
            gauge.set(name == state)
        metrics.journal_tail_age.set(manager.journal_age())
