"""The primary is killed several times, under 200 requests per second."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from stateroom.drills.client import Client
from stateroom.drills.judge import judge
from stateroom.drills.load import Load
from stateroom.drills.stack import PROBE_SECONDS, stack

KILLS = 5
FIRST_WRITE_SECONDS = 0.15


async def first_stored_write(prober: Client) -> float:
    """Wait until the service stores a value again, after the primary was killed. Returns the time, of the monotonic clock."""
    while await prober.write("probe", 1):  # One may have been under way.
        await asyncio.sleep(PROBE_SECONDS)
    while not await prober.write("probe", 2):
        await asyncio.sleep(PROBE_SECONDS)
    return time.monotonic()


@pytest.mark.timeout(400)
@pytest.mark.long_drill
async def test_five_kills_refuse_nobody_and_lose_nothing(tmp_path: Path) -> None:
    delays = []
    async with stack(tmp_path) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls) as load, Client(urls, 0, "prober@example.com") as prober:
            await prober.register()
            for _ in range(KILLS):
                primary = await made.primary()
                async with load.steady():
                    await primary.kill()
                    others = [node for node in made.nodes if node is not primary]
                    (_, promoted_at), written_at = await asyncio.gather(made.first_write(others), first_stored_write(prober))
                    delays.append(written_at - promoted_at)
                    await made.settled()
                async with made.hurried():  # No client waits here.
                    await primary.start()
                    await made.all_well()
            verdict = await judge(load.ledger(), urls)
    print(f"first write after {[round(delay, 3) for delay in delays]} s; {verdict.requests}, {verdict.degraded} degraded")
    print(f"slowest {verdict.slowest}, {len(verdict.lost_writes)} of {verdict.writes} writes lost")
    assert verdict.faults() == []
    assert verdict.requests["login"] >= KILLS
    assert verdict.degraded > 0, "no response was degraded: the drill broke nothing"
    assert statistics.median(delays) <= FIRST_WRITE_SECONDS
