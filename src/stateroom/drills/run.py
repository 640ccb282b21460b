"""Plays several scenarios, one after the other, on Stateroom and on a peer. No process or file is left behind."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .live import View
from .outcome import Outcome
from .play import play
from .scratch import keep, scratch
from .stage import Scenario

PEER = "aiohttp-session"
T = TypeVar("T")


def has_peer() -> bool:
    """Whether the peer is installed."""
    return importlib.util.find_spec("aiohttp_session") is not None


async def play_all(
    scenarios: Sequence[Scenario],
    view: View,
    *,
    peer: bool = False,
    without: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple[list[Outcome], Path | None]:
    """Play the scenarios. Returns the outcomes and, if Stateroom failed one, the folder with the logs.

    `peer`: play the peer too. `without`: protections that Stateroom's workers do without. `environment`: more settings.
    """
    outcomes: list[Outcome] = []
    with scratch() as folder:
        async with view.showing():
            for scenario in scenarios:
                for service in ["stateroom", *([PEER] if peer and scenario.is_for_peers else [])]:
                    view.begin(scenario, service)
                    outcome = await play(
                        scenario, folder / f"{scenario.name}-{service}", service=service, on_stage=view.on_stage,
                        without=without if service == "stateroom" else (), environment=environment,
                    )  # fmt: skip
                    outcomes.append(outcome)
                    view.end(outcome)
                    if outcome.has_passed:
                        await asyncio.to_thread(shutil.rmtree, folder / f"{scenario.name}-{service}")
        if all(each.has_passed or each.service != "stateroom" for each in outcomes):
            return outcomes, None
        kept = Path(tempfile.mkdtemp(prefix="stateroom-drill-"))
        keep(folder, kept)
        return outcomes, kept


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end. SIGTERM and Ctrl-C cancel it; then this raises `KeyboardInterrupt`."""

    async def main() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    return asyncio.run(main())
