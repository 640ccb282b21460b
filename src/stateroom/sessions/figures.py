"""Gauges of the present state: of this process at each scrape, of the deployment every few seconds.

The worker that sweeps counts the live sessions of the deployment and leaves the number in the store for the others. So a
scrape by Prometheus counts nothing, and a hundred workers cost Redis hardly more than one.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from ..backend.info import ask_primaries
from ..errors import Unavailable

if TYPE_CHECKING:
    from .wiring import Parts

REFRESH_SECONDS = 0.25
"""If a worker is killed, its figures of at most this time are lost."""
COUNT_KEPT_MS = 10_000


class Figures:
    """The gauges of one process' sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._metrics = parts.metrics
        self._metrics.sample(self._sample)

    async def keep_fresh(self) -> None:
        """Publish the figures to the other workers of this host, until cancelled."""
        while True:
            self._metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def count_sessions(self, *, for_all: bool) -> None:
        """Count the live sessions of the deployment, or take the number from the worker that counts."""
        store = self._parts.store
        try:
            if for_all:
                active: float | None = await store.count_active()
                await store.publish_active(int(active or 0), kept_ms=COUNT_KEPT_MS)
            else:
                active = await store.published_active()
        except Unavailable:
            active = None
        self._metrics.sessions_active.set(math.nan if active is None else active)  # no figure is better than an old one

    async def ask_primaries(self) -> None:
        """Ask each primary about its memory and replicas."""
        metrics = self._metrics
        try:
            info = await ask_primaries(self._parts.client)
        except Unavailable:
            info = None
        figures = (math.nan,) * 4 if info is None else (info.evicted_keys, info.memory_used, info.memory_max, info.replicas)
        gauges = (metrics.redis_evicted_keys, metrics.redis_memory_used, metrics.redis_memory_max, metrics.redis_connected_replicas)
        for gauge, figure in zip(gauges, figures, strict=True):
            gauge.set(figure)

    def _sample(self) -> None:
        metrics, parts = self._metrics, self._parts
        pool = parts.client.pool_figures()
        metrics.redis_pool_connections["idle"].set(pool.idle)
        metrics.redis_pool_connections["in_use"].set(pool.in_use)
        metrics.redis_pool_connections_max.set(pool.maximum)
        metrics.redis_pool_pending.set(pool.pending)
        metrics.redis_multiplexer_pending.set(pool.shared_pending)
        metrics.redis_circuit_state.set(pool.circuit)
        metrics.redis_up.set(parts.client.is_available)
        state = parts.trust.state(parts.client, parts.store)
        for name, gauge in metrics.store_state.items():
            gauge.set(name == state)
        metrics.journal_tail_age.set(parts.tail.age if parts.trust.has_journal else math.nan)
