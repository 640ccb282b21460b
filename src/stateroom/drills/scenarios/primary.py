"""Scenarios in which the primary fails: it dies, hangs, is cut off, or dies with writes that it had not replicated."""

from __future__ import annotations

import asyncio
import time

from ..judge import Verdict
from ..stage import QUICK_HASHES, Stage, scenario

MAX_LAG_SECONDS = 10.0
"""`min-replicas-max-lag` in the shipped configuration."""
APART_SECONDS = MAX_LAG_SECONDS + 4
LOGINS = LOGOUTS = 20


@scenario("kill-primary", "The primary is killed (kill -9) and later comes back as a replica.", degrades=True)
async def kill_primary(stage: Stage) -> None:
    primary = await stage.stack.primary()
    await stage.kill(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()


# A re-authentication computes a hash and waits for a lease. Six at once take several seconds on two processors.
@scenario(
    "hang-primary", "The primary is stopped (SIGSTOP): connections stay open, and it answers nothing. Later it continues.",
    degrades=True, slowest_login=5.0, slowest_logout=5.0, load={"signers": 4, "logins": 2},
)  # fmt: skip
async def hang_primary(stage: Stage) -> None:
    primary = await stage.stack.primary()
    stage.hang(primary)
    # All six are under way when the server stops. Some have prepared a new session there, which no client receives.
    await asyncio.gather(*(client.reauthenticate() for client in stage.load.readers[:6]))
    await stage.promoted(primary)
    await stage.settled()
    stage.resume(primary)
    await stage.whole()


@scenario(
    "partition-primary",
    "A partition leaves the primary with one Sentinel and one worker. The primary still accepts writes there.",
    degrades=True, load={"signers": 8},
)  # fmt: skip
async def partition_primary(stage: Stage) -> None:
    old = await stage.stack.primary()
    stage.partition([old, stage.stack.sentinels[0]], [stage.stack.workers[0]])
    parted_at = time.monotonic()
    await stage.promoted(old)
    await stage.settled([stage.stack.workers[1]])
    ended_before = _ended_there(stage)
    await asyncio.sleep(max(0.0, parted_at + APART_SECONDS - time.monotonic()))
    stage.expect("no client signed out on the side with the majority", is_so=_ended_there(stage) > ended_before)
    stage.heal()
    await stage.whole()


def _ended_there(stage: Stage) -> set[int]:
    """The sessions that were ended on the side with the majority."""
    there = [client for client in stage.load.signers if client.worker == 1]
    return {id(session) for client in there for session in client.ledger.sessions if session.ended_at is not None}


async def _were_restored(stage: Stage, verdict: Verdict) -> None:
    if not verdict.faults():
        stage.expect("too few sessions were stored again: the drill held nothing back", is_so=await stage.restored() >= LOGINS)


@scenario(
    "lagging-replica",
    "Replication is held back while users sign in and out. "
    "Then the primary is killed while it has writes that no replica has received.",
    load={"readers": 4, "reads": 40, "signers": LOGINS + LOGOUTS, "logins": 0.01}, environment=QUICK_HASHES,
    looks=_were_restored,
)  # fmt: skip
async def lagging_replica(stage: Stage) -> None:
    coming, going = stage.load.signers[:LOGINS], stage.load.signers[LOGINS:]
    await asyncio.gather(*(client.logout() for client in coming))
    primary = await stage.stack.primary()
    stage.mark("replication held back", "fault")
    stage.stack.hold_replication_back(primary)
    await asyncio.gather(*(client.logout() for client in going), *(client.login() for client in coming))
    stage.expect(
        "sign-ins were degraded before the primary died",
        is_so=not any(client.session.is_degraded for client in coming if client.session is not None),
    )
    await stage.kill(primary)
    stage.stack.lose_replication(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()
    await stage.everybody_asks()
