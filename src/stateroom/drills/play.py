"""Plays one scenario: starts a stack and clients, runs the scenario's steps, and has the judge judge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .journal import stoppable_journal
from .judge import judge
from .load import Load
from .outcome import Outcome, weigh_outcome
from .recorder import Recorder
from .stack import stack
from .stage import Scenario, Stage

BEFORE_SECONDS = 1.5
AFTER_SECONDS = 1.0
"""How long the clients run before the first step and after the last."""


async def play(
    scenario: Scenario,
    folder: Path,
    *,
    service: str = "stateroom",
    without: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    is_hurried: bool = False,
    on_stage: Callable[[Stage, Recorder], None] = lambda *_: None,
) -> Outcome:
    """Play a scenario in this folder.

    `service`: which of `workers.SERVICES`. `without`: protections that the workers do without. `environment`: more settings.
    `is_hurried`: for a service that lacks a protection. An old primary that is back becomes a replica sooner, and the steps wait
    less long for what this service does not do. `on_stage` is called before the first step.
    """
    async with contextlib.AsyncExitStack() as exits:
        options: dict[str, Any] = {}
        journal = None
        if scenario.needs_journal:
            journal = await exits.enter_async_context(stoppable_journal(folder, scenario.journal_kind))
            switches = [*journal.switches, *scenario.switches]
            options = {"database_urls": [journal.url] * 2, "switches": dict.fromkeys(range(2), switches)}
        settings = {**scenario.environment, **(environment or {})}
        made = await exits.enter_async_context(
            stack(
                folder / "stack", without=without, environment=settings, service=service, round_trip=scenario.round_trip, **options
            )
        )
        urls = [worker.url for worker in made.workers]
        clients: dict[str, Any] = {"probers": 1, **scenario.load}
        load = await exits.enter_async_context(Load(urls, **clients))
        stage = Stage(made, load, folder, journal, is_hurried=is_hurried)
        recorder = Recorder(made)
        on_stage(stage, recorder)
        async with recorder.recording():
            began_at = time.monotonic()
            async with load.steady():
                await asyncio.sleep(BEFORE_SECONDS)
                try:
                    await scenario.plays(stage)
                except TimeoutError as error:  # The judge still judges.
                    stage.missed.append(str(error) or "a step of the scenario timed out")
                await asyncio.sleep(AFTER_SECONDS)
            ended_at = time.monotonic()
            ledger = load.ledger()
        verdict = await judge(ledger, urls)
        if scenario.looks is not None and service == "stateroom":  # A peer lacks the features that these checks need.
            await scenario.looks(stage, verdict)
    outcome = Outcome(
        scenario.name, scenario.says, service, began_at, ended_at, verdict, ledger,
        stage.marks, recorder.events, recorder.workers, recorder.servers, recorder.sentinels,
    )  # fmt: skip
    outcome.stood_still = load.standstills.longest
    outcome.load_per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
    weigh_outcome(outcome, scenario, stage.spans, stage.missed)
    return outcome
