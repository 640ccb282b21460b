"""Figures of several workers as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stateroom.telemetry.workers import FOLDER, leave

from ..commands import SOURCES

WORKER = """
import sys
from stateroom.telemetry import workers
workers.join(int(sys.argv[1]))
from stateroom.telemetry.metrics import Metrics
metrics = Metrics("1")
exec(sys.argv[2])
metrics.refresh()
"""
SCRAPE = "from prometheus_client import generate_latest; print(generate_latest(metrics.scraped).decode())"


def work(folder: Path, number: int, script: str) -> str:
    """What worker `number` prints; its figures stay in the folder."""
    environment = os.environ | {"PYTHONPATH": SOURCES, FOLDER: str(folder)}
    return subprocess.run(
        [sys.executable, "-c", WORKER, str(number), script], env=environment, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


def scraped(folder: Path) -> dict[tuple[str, frozenset[str]], float]:
    """What a further worker tells of them."""
    text = work(folder, 9, SCRAPE)
    leave(folder, 9)
    return figures(text)


def figures(text: str) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name.removeprefix("stateroom_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["settled", "settled"], "settled"), (["settled", "unsettled"], "unsettled"), (["read_only", "unsettled"], "read_only"),
        (["settled", "away"], "away"),
    ],
)  # fmt: skip
def test_of_states_the_worst_is_the_hosts(tmp_path: Path, states: list[str], worst: str) -> None:
    for number, state in enumerate(states):
        work(tmp_path, number, f"metrics.store_state[{state!r}].set(1)")
    found = scraped(tmp_path)
    told = {state: found["store_state", frozenset([state])] for state in ("settled", "unsettled", "read_only", "away")}
    assert told == {state: float(state == worst) for state in told}


def test_counts_are_added_up_and_outlive_the_worker(tmp_path: Path) -> None:
    count = "metrics.sessions_created.inc(3); metrics.http_requests['GET', '/x', '200'].inc()"
    for number in (0, 1, 1):  # the third takes the place of the second
        work(tmp_path, number, count + "; metrics.redis_pool_connections_max.set(20)")
    leave(tmp_path, 1)
    found = scraped(tmp_path)
    assert found["sessions_created_total", frozenset()] == 9
    assert found["http_requests_total", frozenset(["GET", "/x", "200"])] == 3
    assert found["redis_pool_connections_max", frozenset()] == 20


@pytest.mark.parametrize("other", [0, 1])
def test_one_worker_without_redis_is_told(tmp_path: Path, other: int) -> None:
    script = "metrics.redis_up.set({0}); metrics.redis_circuit_state.set(2 - 2 * {0}); "
    work(tmp_path, 0, script.format(other))
    found = figures(work(tmp_path, 1, script.format(1) + SCRAPE))
    assert found["redis_up", frozenset()] == other
    assert found["redis_circuit_state", frozenset()] == 2 - 2 * other
