"""The primary is stopped (SIGSTOP): it is there and says nothing; later it goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from stateroom.drills import topology
from stateroom.drills.judge import judge
from stateroom.drills.load import Load
from stateroom.drills.stack import stack

READ_TIMEOUT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = READ_TIMEOUT_SECONDS + 0.2
STALL_SECONDS = 0.05


@pytest.mark.timeout(240)
async def test_a_hung_primary_keeps_nobody_waiting_and_leaves_no_ghosts(tmp_path: Path) -> None:
    async with stack(tmp_path) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls, signers=4, logins=2) as load:
            rotating = load.readers[:6]
            primary = await made.primary()
            for worker in made.workers:
                await worker.longest_stall()
            async with load.steady():
                primary.pause()
                # Each of these is under way when the server stops; some are prepared there and never claimed.
                await asyncio.gather(*(client.reauthenticate() for client in rotating))
                await made.first_write([node for node in made.nodes if node is not primary])
                await made.settled()
                primary.resume()
                await made.all_well()
            stalls = [await worker.longest_stall() for worker in made.workers]
            verdict = await judge(load.ledger(), urls)
            live = [client.session for client in load.clients if client.session is not None]

            async def counts_agree() -> bool:
                """A session a client, and one more for each signer whom the judge has signed in to look."""
                active = await made.workers[0].metric("stateroom_sessions_active")
                return active == len(live) + len(load.signers)

            await topology.until(counts_agree, f"{len(live)} sessions are active, and no ghosts")
    print(f"slowest {verdict.slowest}, longest stalls {stalls}, {verdict.degraded} degraded of {verdict.requests}")
    # Sign-ins compute hashes beside; re-authentications and sign-outs wait for a lease too: no bound is put on those.
    assert verdict.faults(slowest=math.inf, slowest_logout=math.inf) == []
    assert verdict.degraded > 0
    assert max(verdict.slowest["read"], verdict.slowest["write"]) <= LONGEST_WAIT_SECONDS
    assert max(stalls) <= STALL_SECONDS
