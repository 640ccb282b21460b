"""Every scenario passes on the service, and fails on a service without the protection that the scenario tests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stateroom.backend.dial import Dialer
from stateroom.drills import topology
from stateroom.drills.journal import JournalKind
from stateroom.drills.judge import Verdict
from stateroom.drills.node import until
from stateroom.drills.outcome import Outcome
from stateroom.drills.play import play
from stateroom.drills.scenarios import SCENARIOS
from stateroom.drills.scenarios.outage import all_redis_down_for
from stateroom.drills.scenarios.restored import restored, restored_while_stopped
from stateroom.drills.stack import stack
from stateroom.drills.stage import Scenario, Stage
from stateroom.drills.target import Target, drill

AWAY_SECONDS = os.environ.get("AWAY_SECONDS")
"""AWAY_SECONDS=60 sets another length of the outage."""
MAX_LAG_SECONDS = 10.0
"""`min-replicas-max-lag` in the shipped configuration."""
READ_TIMEOUT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = READ_TIMEOUT_SECONDS + 0.2
LOG_LINES = 40

NO_DEGRADED_MODE = {"DEGRADED_MAX_AGE": "0"}
PATIENT = {"REDIS_READ_TIMEOUT": "5", "REDIS_DIAL_TIMEOUT": "5"}

SHORT = ("kill-primary", "flush", "journal-away")
"""The scenarios that are played on each change."""

MEASURED = ("hang-primary", "all-redis-down")
"""The scenarios with their own tests below."""

BROKEN: Sequence[tuple[str, Sequence[str], Mapping[str, str], str]] = (
    ("kill-primary", [], NO_DEGRADED_MODE, "refused"),
    ("hang-primary", [], PATIENT, "took"),
    ("partition-primary", ["trust"], {}, "accepted or stored again"),
    ("rolling-restart", [], NO_DEGRADED_MODE, "refused"),
    ("sentinel-minority-down", [], NO_DEGRADED_MODE, "refused"),
    ("sentinel-majority-down", ["unsettled"], {}, "two Sentinels down, the primary up"),
    ("sentinel-majority-down", [], NO_DEGRADED_MODE, "refused"),
    ("all-redis-down", [], NO_DEGRADED_MODE, "refused"),
    ("full-restart-from-disk", ["replay", "trust"], {}, "accepted or stored again"),
    ("lagging-replica", ["trust"], {}, "accepted or stored again"),
    ("lagging-replica", ["replay"], {}, "accepted or stored again"),
    ("lagging-replica", ["restore"], {}, "lost, of which"),
    ("flush", ["restore"], {}, "lost, of which"),
    ("journal-away", [], {"JOURNAL_REQUIRED": "true"}, "refused"),
    ("database-restored", ["unknown-users"], {}, "did not end as unknown-user"),
    ("sentinels-rebuilt", ["rebuilt"], {}, "lost, of which"),
    ("slow-network", [], NO_DEGRADED_MODE, "refused"),
)
"""The scenario, the protections that the workers do without, more settings, and words of the expected fault."""


WITH_COPIES = ("kill-primary", "hang-primary", "partition-primary", "manual-failover", "all-redis-down", "lagging-replica")
"""The scenarios that are also played with `SESSION_CACHE_MAX_AGE`. A copy must not outlive the server it was read from."""

PEER_FAILS = ("kill-primary", "manual-failover")
"""The scenarios in which the peer is shown to fail."""


def told(outcome: Outcome, folder: Path) -> str:
    """The outcome in words, with the workers' logs if it failed."""
    logs = (
        [line for log in sorted(folder.rglob("worker.log")) for line in (log.parent.name, *warnings(log))] if outcome.faults else []
    )
    said = "; ".join(outcome.faults) or "passed"
    return "\n".join([f"{outcome.scenario}: {said}", str(outcome.figures()), *outcome.evidence(), *logs])


def warnings(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if '"level":"info"' not in line.replace(" ", "")][-LOG_LINES:]


async def play_it(scenario: Scenario, folder: Path) -> Outcome:
    outcome = await play(scenario, folder)
    print(told(outcome, folder))
    assert outcome.faults == [], told(outcome, folder)
    return outcome


def marked(name: str) -> object:
    return pytest.param(name, marks=() if name in SHORT else pytest.mark.long_drill, id=name)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [marked(name) for name in SCENARIOS if name not in MEASURED])
async def test_nobody_notices(tmp_path: Path, name: str) -> None:
    outcome = await play_it(SCENARIOS[name], tmp_path)
    if name == "partition-primary":
        ages = [lost.write.acknowledged_at - (outcome.broken_at or 0.0) for lost in outcome.verdict.lost_writes]
        assert all(age <= MAX_LAG_SECONDS + 1 for age in ages)


@pytest.mark.timeout(240)
@pytest.mark.long_drill
async def test_all_of_redis_away_for_a_while(tmp_path: Path) -> None:
    scenario = SCENARIOS["all-redis-down"] if AWAY_SECONDS is None else all_redis_down_for(float(AWAY_SECONDS))
    await play_it(scenario, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.long_drill
async def test_a_hung_primary_keeps_nobody_waiting_and_leaves_no_ghosts(tmp_path: Path) -> None:
    scenario = SCENARIOS["hang-primary"]
    blocked: list[float] = []

    async def measured(stage: Stage) -> None:
        for worker in stage.stack.workers:
            await worker.longest_blocked()
        await scenario.plays(stage)
        blocked.extend([await worker.longest_blocked() for worker in stage.stack.workers])

    async def counts_agree(stage: Stage, _: Verdict) -> None:
        """Expect one session per client, and one more for each signer, because the judge signed in to read the list."""
        live = [client.session for client in stage.load.clients if client.session is not None]
        ended = {s.email for client in stage.load.signers for s in client.ledger.sessions if s.ended_at is not None}

        async def is_so() -> bool:
            active = await stage.stack.workers[0].metric("stateroom_sessions_active")
            return active == len(live) + len(ended)

        await until(is_so, f"{len(live)} sessions are active, and no ghosts")

    outcome = await play_it(replace(scenario, plays=measured, looks=counts_agree), tmp_path)
    slowest = outcome.verdict.slowest
    print(f"blocked {blocked}")
    assert max(slowest["read"], slowest["write"]) <= LONGEST_WAIT_SECONDS
    assert not any(blocked)


@pytest.mark.timeout(180)
@pytest.mark.long_drill
@pytest.mark.parametrize(
    ("name", "without", "environment", "words"),
    BROKEN,
    ids=["-".join([name, "without", *without, *environment]) for name, without, environment, _ in BROKEN],
)
async def test_the_judge_notices_what_is_missing(
    tmp_path: Path, name: str, without: Sequence[str], environment: Mapping[str, str], words: str
) -> None:
    outcome = await play(SCENARIOS[name], tmp_path, without=without, environment=environment, is_hurried=True)
    print(told(outcome, tmp_path))
    assert any(words in fault for fault in outcome.faults), told(outcome, tmp_path)
    assert outcome.evidence(), "the ledger proves it"


@pytest.mark.timeout(180)
@pytest.mark.long_drill
async def test_workers_that_settle_on_sentinels_before_they_are_accepted_are_noticed(tmp_path: Path) -> None:
    """No client sees this: it would take a second fault for a sign-out to be undone."""
    outcome = await play(SCENARIOS["sentinels-rebuilt"], tmp_path, without=["accept"], is_hurried=True)
    assert any("before the Sentinels were accepted" in fault for fault in outcome.faults), told(outcome, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.long_drill
@pytest.mark.parametrize("name", PEER_FAILS)
async def test_a_peer_under_the_same_judge_refuses_users(tmp_path: Path, name: str) -> None:
    outcome = await play(SCENARIOS[name], tmp_path, service="aiohttp-session")
    print(told(outcome, tmp_path))
    assert outcome.verdict.refused
    assert outcome.evidence(), "the ledger proves it"


@pytest.mark.timeout(180)
@pytest.mark.long_drill
@pytest.mark.parametrize("name", WITH_COPIES)
async def test_nobody_notices_where_workers_keep_copies(tmp_path: Path, name: str) -> None:
    scenario, hits = SCENARIOS[name], list[float]()

    async def copies_are_used(stage: Stage, verdict: Verdict) -> None:
        hits.extend([await worker.metric("stateroom_session_cache_hits_total") or 0.0 for worker in stage.stack.workers])
        if scenario.looks is not None:
            await scenario.looks(stage, verdict)

    outcome = await play(replace(scenario, looks=copies_are_used), tmp_path, environment={"SESSION_CACHE_MAX_AGE": "30"})
    print(told(outcome, tmp_path), f"\n{sum(hits):.0f} answers from copies")
    assert outcome.faults == [], told(outcome, tmp_path)
    assert min(hits) > 0


@pytest.mark.timeout(180)
@pytest.mark.long_drill
async def test_a_stack_that_runs_already_is_failed_over_by_its_sentinels(tmp_path: Path) -> None:
    async with stack(tmp_path) as made:
        sentinels = [relay.at for relay in made.relays[len(made.nodes) :]]
        target = Target(made.workers[0].url, sentinels, topology.SERVICE_NAME, Dialer(2.0, 5.0))
        before = await target.primary()
        outcome = await drill(target, SCENARIOS["manual-failover"])
        assert await target.primary() != before
    assert outcome.faults == [], told(outcome, tmp_path)
    assert outcome.verdict.requests["read"] > 0


@pytest.mark.timeout(180)
@pytest.mark.long_drill
@pytest.mark.parametrize("kind", ["SQLite", "SQLite, restored in place"])
async def test_an_sqlite_file_goes_back_to_a_backup(tmp_path: Path, kind: JournalKind) -> None:
    await play_it(restored(kind), tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.long_drill
async def test_the_judge_notices_a_remedy_that_ends_nothing(tmp_path: Path) -> None:
    outcome = await play(restored_while_stopped(["--version"]), tmp_path)
    print(told(outcome, tmp_path))
    assert any("accepted or stored again" in fault for fault in outcome.faults), told(outcome, tmp_path)


def test_each_scenario_is_shown_to_fail() -> None:
    shown = {name for name, *_ in BROKEN} | set(PEER_FAILS) | {restored_while_stopped().name}
    assert shown == set(SCENARIOS)


@pytest.mark.timeout(180)
@pytest.mark.long_drill
async def test_what_never_comes_is_a_fault_and_not_an_accident(tmp_path: Path) -> None:
    async def wait_in_vain(_: Stage) -> None:
        async def never() -> bool:
            return False

        await until(never, "pigs fly", seconds=0.1)

    outcome = await play(Scenario(name="vain", says="Nothing happens.", plays=wait_in_vain), tmp_path)
    assert outcome.faults == ["waited 0.1 s, but this did not happen: pigs fly"]
