"""One shard of a Cluster loses its primary. Its users stay signed in by their cookies, and other users notice nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from stateroom.drills.judge import judge
from stateroom.drills.ledger import IDENTITY_KINDS, Ledger
from stateroom.drills.load import Load
from stateroom.drills.node import until

from .clustered import clustered

UNDISTURBED_SECONDS = 0.5


@pytest.mark.timeout(240)
async def test_a_killed_primary_touches_nobody_on_other_shards_and_signs_nobody_out(tmp_path: Path) -> None:
    async with clustered(tmp_path) as made, Load(made.urls, readers=30, writers=9, signers=12, logins=6) as load:
        shards = {client.email: await made.shard_of(client, load) for client in load.clients}
        assert set(shards.values()) == {0, 1, 2}
        killed, heir = made.nodes[0], made.nodes[3]
        async with load.steady():
            await asyncio.sleep(1)  # Some sign-ins and sign-outs before the fault.
            killed_at = time.monotonic()
            await killed.kill()

            async def is_promoted() -> bool:
                return bool((await heir.call("ROLE"))[0] == b"master")

            await until(is_promoted, "the replica is promoted")
            promoted_after = time.monotonic() - killed_at
            await killed.start()  # It returns as a replica of the new primary.
            await made.settled()
            await asyncio.sleep(1)
        stood_still = max([await worker.longest_standstill() for worker in made.workers])  # A busy machine is no fault.
        verdict = await judge(load.ledger(), made.urls)
        others = Ledger()
        for client in load.clients:
            if shards[client.email] != 0:
                others.take(client.ledger)
    print(f"promoted after {promoted_after:.2f} s; {verdict.requests}, {verdict.degraded} degraded, slowest {verdict.slowest}")
    assert verdict.faults() == []
    assert verdict.degraded > 0, "no response was degraded: the drill broke nothing"
    bound = UNDISTURBED_SECONDS + stood_still
    disturbed = [each for each in others.answers if each.is_degraded or each.status >= 500 or each.took > bound]
    assert disturbed == []
    assert {each.kind for each in others.answers} >= set(IDENTITY_KINDS)
