"""Every panel of the dashboard has data after a failover, with a real Prometheus, the shipped rules and a real stack."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest

from stateroom.drills.load import Load
from stateroom.drills.stack import stack

from ..prometheus import prometheus
from .promql import RULES
from .test_dashboard import PANEL_QUERIES, filled_in

BEFORE_SECONDS = 10
AFTER_SECONDS = 10
AWAY_SECONDS = 3
"""At the end all servers stop: sessions come from cookies, and data is refused."""
BACK_SECONDS = 5

pytestmark = pytest.mark.timeout(240)


async def test_every_panel_shows_a_failover(tmp_path: Path) -> None:
    async with stack(tmp_path / "stack", environment={"LOGIN_ATTEMPTS": "1000"}) as made:
        for node in made.nodes:
            await node.call("CONFIG", "SET", "maxmemory", "256mb")
        workers = [worker.url for worker in made.workers]
        async with (
            prometheus(tmp_path / "prometheus", *(worker.port for worker in made.workers), rules=RULES) as server,
            Load(workers) as load,
        ):
            began = time.time()
            async with load.steady():
                await asyncio.sleep(BEFORE_SECONDS)
                primary = await made.primary()
                await primary.kill()
                others = [node for node in made.nodes if node is not primary]
                await made.primary(others)
                await made.settled()
                await asyncio.sleep(AFTER_SECONDS)
                for node in others:
                    node.pause()
                await asyncio.sleep(AWAY_SECONDS)
                for node in others:
                    node.resume()
                await asyncio.sleep(BACK_SECONDS)
            ended = time.time()
            empty = []
            for title, query in PANEL_QUERIES:
                samples = await server.samples(filled_in(query), since=began, until=ended)
                if not any(not math.isnan(sample) for sample in samples):
                    empty.append((title, query))
            assert empty == []
            assert max(await server.samples("stateroom_redis_failovers_total", since=began, until=ended)) >= 1
