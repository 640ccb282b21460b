"""Background loops: no error ends one for good, and each error is logged and counted."""

from __future__ import annotations

import pytest

from stateroom.telemetry import loops
from stateroom.telemetry.metrics import Metrics

from ..logs import capture_events


async def test_a_loop_goes_on_after_an_error_which_is_logged_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "PAUSE_SECONDS", 0)
    metrics = Metrics()
    turns = []

    async def loop() -> None:
        turns.append(1)
        if len(turns) < 3:
            raise ValueError("unforeseen")

    with capture_events() as lines:
        await loops.keep_going(loop, "housekeeping", metrics)
    assert len(turns) == 3
    told = [(line["event"], line["log_level"], line["loop"], line["exc_info"]) for line in lines]
    assert told == [("loop_failed", "error", "housekeeping", True)] * 2
    assert metrics.registry.get_sample_value("stateroom_loop_errors_total", {"loop": "housekeeping"}) == 2
