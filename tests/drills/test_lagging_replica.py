"""Replication is held back while people sign in and out; then the primary dies with what it alone knew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from stateroom.drills.judge import Verdict, judge
from stateroom.drills.load import Load
from stateroom.drills.stack import Stack, stack

LOGINS = LOGOUTS = 20
SLOW_RESTORE_SECONDS = 2.0
QUICK_HASHES = {"BCRYPT_ROUNDS": "4"}  # all sign in within the second that a replica may be silent


async def fail_over_with_lag(made: Stack) -> Verdict:
    """Twenty sign in and twenty out whom no replica knows; the judge's word after the failover."""
    urls = [worker.url for worker in made.workers]
    async with Load(urls, readers=4, reads=40, signers=LOGINS + LOGOUTS, logins=0.01) as load:
        coming, going = load.signers[:LOGINS], load.signers[LOGINS:]
        assert all(await asyncio.gather(*(client.logout() for client in coming)))
        primary = await made.primary()
        async with load.steady():
            replicas = made.hold_replication_back(primary)
            try:
                await made.fill_sockets(primary)
                assert all(await asyncio.gather(*(client.logout() for client in going), *(client.login() for client in coming)))
                assert not any(client.session.is_degraded for client in coming if client.session is not None)
                await primary.kill()
            finally:
                for replica in replicas:
                    replica.resume()
            await made.first_write(replicas)
            await made.settled()
        await primary.start()
        await made.all_well()
        # Whoever signed in asks once more, as browsers do: that is what brings a lost session back.
        await asyncio.gather(*(client.read() for client in load.clients if client.session is not None))
        verdict = await judge(load.ledger(), urls)
        restored = [await worker.metric("stateroom_sessions_restored_total") or 0 for worker in made.workers]
    print(f"{verdict.faults()}; restored {restored}, {verdict.requests}")
    if not verdict.faults():
        assert sum(restored) >= LOGINS, "nothing had been lost: the drill has held nothing back"
    return verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("cache_seconds", ["0", "30"])
async def test_what_no_replica_knew_holds_all_the_same(tmp_path: Path, cache_seconds: str) -> None:
    async with stack(tmp_path, environment=QUICK_HASHES | {"SESSION_CACHE_MAX_AGE": cache_seconds}) as made:
        verdict = await fail_over_with_lag(made)
    assert verdict.faults() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("without", "words"),
    [("honour", "ended sessions back"), ("apply", "ended sessions back"), ("restore", "sessions lost")],
)
async def test_without_a_protection_the_judge_notices(tmp_path: Path, without: str, words: str) -> None:
    async with stack(tmp_path, without=[without], environment=QUICK_HASHES) as made:
        verdict = await fail_over_with_lag(made)
    assert any(words in fault for fault in verdict.faults())


async def log_out_while_restoring(made: Stack) -> Verdict:
    """Redis loses everything. Each session is being restored by a slow worker when it is signed out on the other."""
    urls = [worker.url for worker in made.workers]
    async with Load(urls, readers=0, writers=0, signers=2 * LOGOUTS, logins=0.01) as load:
        going = [client for client in load.signers if client.worker == 1]
        sessions = [client.session for client in going if client.session is not None]
        primary = await made.primary()
        await primary.call("FLUSHALL")
        asked = [asyncio.create_task(load.ask(0, session)) for session in sessions]
        done, _ = await asyncio.wait(asked, timeout=SLOW_RESTORE_SECONDS / 4)
        assert not done, "the restores are slow, so that something can come between"
        assert all(await asyncio.gather(*(client.logout() for client in going)))
        await asyncio.gather(*asked)
        return await judge(load.ledger(), urls)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("without", [[], ["second-look"]])
async def test_a_logout_while_the_session_is_being_restored_wins_by_the_second_look(tmp_path: Path, without: Sequence[str]) -> None:
    slow = {0: ["--slow-restore", str(SLOW_RESTORE_SECONDS)]}
    async with stack(tmp_path, without=without, switches=slow) as made:
        verdict = await log_out_while_restoring(made)
    print(verdict.faults())
    assert bool(verdict.back) is bool(without)
