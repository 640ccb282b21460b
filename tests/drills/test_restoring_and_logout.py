"""A session is signed out on one worker while the other stores it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from stateroom.drills.judge import Verdict, judge
from stateroom.drills.load import Load
from stateroom.drills.stack import Stack, stack

LOGOUTS = 20
SLOW_RESTORE_SECONDS = 2.0


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
@pytest.mark.long_drill
@pytest.mark.parametrize("without", [[], ["second-look"]])
async def test_a_logout_while_the_session_is_being_restored_wins_by_the_second_look(tmp_path: Path, without: Sequence[str]) -> None:
    slow = {0: ["--slow-restore", str(SLOW_RESTORE_SECONDS)]}
    async with stack(tmp_path, without=without, switches=slow) as made:
        verdict = await log_out_while_restoring(made)
    print(verdict.faults())
    assert bool(verdict.back) is bool(without)
