"""All of Redis is away, and comes back: as it was, empty, or from an old disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stateroom.drills.judge import judge
from stateroom.drills.load import Load
from stateroom.drills.stack import stack

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "15"))
"""The whole minute takes its time: AWAY_SECONDS=60."""
LOGOUTS = 50
QUICK_HASHES = {"BCRYPT_ROUNDS": "4"}


@pytest.mark.timeout(240 + 2 * AWAY_SECONDS)
async def test_an_outage_and_a_flush_sign_nobody_out_and_undo_no_logout(tmp_path: Path) -> None:
    async with stack(tmp_path) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls) as load:
            async with load.steady():
                await made.stop_redis()
                await asyncio.sleep(AWAY_SECONDS)
                await made.start_redis()
                await made.all_well()
            verdict = await judge(load.ledger(), urls)
            print(f"outage: {verdict.requests}, {verdict.degraded} degraded, slowest {verdict.slowest}")
            assert verdict.faults() == []
            assert any(session.is_degraded for session in load.ledger().sessions), "nobody signed in meanwhile"

            async with load.steady():
                primary = await made.primary()
                await primary.call("FLUSHALL")
                # Each client asks once at least.
                await asyncio.gather(*(client.read() for client in load.clients if client.session is not None))
            verdict = await judge(load.ledger(), urls)
            restored = sum([await worker.metric("stateroom_sessions_restored_total") or 0 for worker in made.workers])
    print(f"flush: {restored} restored")
    assert verdict.faults() == []
    assert restored > 0


@pytest.mark.timeout(240)
async def test_an_old_disk_brings_no_logout_back(tmp_path: Path) -> None:
    async with stack(tmp_path / "stack", environment=QUICK_HASHES) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls, readers=4, reads=40, writers=0, signers=LOGOUTS, logins=0.01) as load:
            await made.stop_redis()
            made.copy_disks(tmp_path / "old")
            await made.start_redis()
            await made.all_well()
            assert all(await asyncio.gather(*(client.logout() for client in load.signers)))
            async with load.steady():  # the clients whose sessions were ended try them all the while
                await made.stop_redis()
                made.put_disks_back(tmp_path / "old")
                await made.start_redis()
                await made.all_well()
            verdict = await judge(load.ledger(), urls)
    assert verdict.faults() == []
    assert sum(session.ended_at is not None for session in load.ledger().sessions) == LOGOUTS
