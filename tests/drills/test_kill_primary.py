"""The primary is killed, again and again, under 200 requests a second."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from stateroom.drills.judge import judge
from stateroom.drills.load import Load
from stateroom.drills.stack import stack

KILLS = 5
FIRST_WRITE_SECONDS = 0.15


@pytest.mark.timeout(400)
async def test_five_kills_refuse_nobody_and_lose_nothing(tmp_path: Path) -> None:
    delays = []
    async with stack(tmp_path) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls) as load:
            for _ in range(KILLS):
                primary = await made.primary()
                async with load.steady():
                    await primary.kill()
                    _, promoted_at = await made.first_write([node for node in made.nodes if node is not primary])
                    await made.settled()
                written = [
                    answer.asked_at + answer.took
                    for answer in load.ledger().answers
                    if answer.kind == "write" and answer.status == 200 and answer.asked_at + answer.took > promoted_at - 0.5
                ]
                delays.append(min(written) - promoted_at)
                await primary.start()
                await made.all_well()
            verdict = await judge(load.ledger(), urls)
    print(f"first write after {[round(delay, 3) for delay in delays]} s; {verdict.requests}, {verdict.degraded} degraded")
    print(f"slowest {verdict.slowest}, {len(verdict.lost_writes)} of {verdict.writes} writes lost")
    assert verdict.faults() == []
    assert verdict.requests["login"] >= KILLS
    assert verdict.degraded > 0, "nothing was degraded: the drill has broken nothing"
    assert statistics.median(delays) <= FIRST_WRITE_SECONDS
