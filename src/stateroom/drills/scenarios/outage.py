"""Scenarios in which all of Redis or the user database is unavailable, or Redis starts again with old data or with none."""

from __future__ import annotations

import asyncio

from ..judge import Verdict
from ..stage import QUICK_HASHES, Scenario, Stage, scenario

AWAY_SECONDS = 8.0
JOURNAL_AWAY_SECONDS = 8.0
LOGOUTS = 50


async def _degraded_sign_ins(stage: Stage, _: Verdict) -> None:
    sessions = stage.load.ledger().sessions
    stage.expect("no client signed in while Redis was unavailable", is_so=any(session.is_degraded for session in sessions))


def all_redis_down_for(away_seconds: float) -> Scenario:
    """The scenario `all-redis-down` with an outage of this length, in seconds."""

    @scenario(
        "all-redis-down", f"All three servers are stopped for {away_seconds:g} s. The Sentinels keep running.",
        degrades=True, looks=_degraded_sign_ins,
    )  # fmt: skip
    async def made(stage: Stage) -> None:
        await stage.stop(*stage.stack.nodes)
        await asyncio.sleep(away_seconds)
        await stage.start(*stage.stack.nodes)
        await stage.whole()

    return made


all_redis_down = all_redis_down_for(AWAY_SECONDS)


async def _all_ended(stage: Stage, _: Verdict) -> None:
    ended = sum(session.ended_at is not None for session in stage.load.ledger().sessions)
    stage.expect(f"only {ended} of {LOGOUTS} sign-outs were acknowledged", is_so=ended >= LOGOUTS)


@scenario(
    "full-restart-from-disk",
    f"All servers restart with old data from disk, in which {LOGOUTS} sessions exist that users have ended since.",
    load={"readers": 4, "reads": 40, "writers": 0, "signers": LOGOUTS, "logins": 0.01, "probers": 0},
    environment=QUICK_HASHES, looks=_all_ended,
)  # fmt: skip
async def full_restart_from_disk(stage: Stage) -> None:
    nodes = stage.stack.nodes
    await stage.stop(*nodes)
    stage.stack.copy_disks(stage.folder / "old")
    stage.mark("data on disk copied")
    await stage.start(*nodes)
    await stage.whole()
    await asyncio.gather(*(client.logout() for client in stage.load.signers))
    stage.mark(f"{LOGOUTS} clients have signed out")
    await stage.stop(*nodes)
    stage.stack.put_disks_back(stage.folder / "old")
    stage.mark("data on disk replaced by the old copy", "fault")
    await stage.start(*nodes)
    await stage.whole()


async def _were_restored(stage: Stage, verdict: Verdict) -> None:
    if not verdict.lost:
        stage.expect("no session was stored again: the drill lost none", is_so=await stage.restored() > 0)


@scenario("flush", "FLUSHALL on the primary deletes every session in Redis.", looks=_were_restored)
async def flush(stage: Stage) -> None:
    primary = await stage.stack.primary()
    stage.mark(f"FLUSHALL on {primary.name}", "fault")
    await primary.call("FLUSHALL")
    await stage.everybody_asks()


@scenario(
    "journal-away", f"The user database is stopped for {JOURNAL_AWAY_SECONDS:g} s. Redis keeps running.",
    needs_journal=True, is_for_peers=False,
)  # fmt: skip
async def journal_away(stage: Stage) -> None:
    journal = stage.journal
    assert journal is not None, "the scenario needs one"
    before = _logouts(stage)
    # A sign-in needs the users in the database. A sign-out needs confirmations from replicas. Without them it fails at once.
    with stage.refusing("the user database is unavailable", "login"):
        stage.mark(f"{journal.kind} stopped", "fault")
        await journal.stop()
        await asyncio.sleep(JOURNAL_AWAY_SECONDS)
        ended = _logouts(stage) - before
        await journal.start()
        stage.mark(f"{journal.kind} started", "fix")
        await stage.everybody_asks()
    stage.expect("no client could sign out while the user database was unavailable", is_so=ended > 0)
    await stage.whole()


def _logouts(stage: Stage) -> int:
    return sum(session.ended_at is not None for session in stage.load.ledger().sessions)
