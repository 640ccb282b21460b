"""The figures of several workers, added up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stateroom.insides import of_prometheus
from stateroom.telemetry.workers import FOLDER, leave

from ..commands import SOURCES

WORKER = """
import sys
from stateroom.insides import of_prometheus
if sys.argv[3] == "unknown":
    of_prometheus.is_known = lambda: False
from stateroom.telemetry import workers
workers.join(int(sys.argv[1]))
from stateroom.telemetry.metrics import Metrics
metrics = Metrics("1")
exec(sys.argv[2])
metrics.refresh()
"""
SCRAPE = "from prometheus_client import generate_latest; print(generate_latest(metrics.scraped).decode())"


class Host:
    """Workers that share a folder. `knows_prometheus`: whether they know the insides of prometheus-client."""

    def __init__(self, folder: Path, *, knows_prometheus: bool) -> None:
        self._folder = folder
        self._known = "known" if knows_prometheus else "unknown"
        self._process_ids: dict[int, int] = {}

    def work(self, number: int, script: str) -> str:
        """The output of worker `number`. Its figures stay in the folder."""
        environment = os.environ | {"PYTHONPATH": SOURCES, FOLDER: str(self._folder)}
        command = [sys.executable, "-c", WORKER, str(number), script, self._known]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            output, _ = process.communicate()
        assert process.returncode == 0
        self._process_ids[number] = process.pid
        return output

    def leave(self, number: int) -> None:
        leave(self._folder, number, self._process_ids[number])

    def scraped(self) -> dict[tuple[str, frozenset[str]], float]:
        """The figures of all workers, read by another worker."""
        text = self.work(9, SCRAPE)
        self.leave(9)
        return figures(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, knows_prometheus=True)


@pytest.fixture(params=["prometheus-client is known", "prometheus-client is unknown"])
def any_host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    knows_prometheus = request.param == "prometheus-client is known"
    monkeypatch.setattr(of_prometheus, "is_known", lambda: knows_prometheus)
    return Host(tmp_path, knows_prometheus=knows_prometheus)


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
def test_of_states_the_worst_is_the_hosts(host: Host, states: list[str], worst: str) -> None:
    for number, state in enumerate(states):
        host.work(number, f"metrics.store_state[{state!r}].set(1)")
    found = host.scraped()
    told = {state: found["store_state", frozenset([state])] for state in ("settled", "unsettled", "read_only", "away")}
    assert told == {state: float(state == worst) for state in told}


def test_counts_are_added_up_and_outlive_the_worker(any_host: Host) -> None:
    count = "metrics.sessions_created.inc(3); metrics.http_requests['GET', '/x', '200'].inc()"
    for number in (0, 1, 1):  # The third replaces the second.
        any_host.work(number, count + "; metrics.redis_pool_connections_max.set(20)")
        if number == 1:
            any_host.leave(1)
    found = any_host.scraped()
    assert found["sessions_created_total", frozenset()] == 9
    assert found["http_requests_total", frozenset(["GET", "/x", "200"])] == 3
    assert found["redis_pool_connections_max", frozenset()] == 20


@pytest.mark.parametrize("other", [0, 1])
def test_one_worker_without_redis_is_told(host: Host, other: int) -> None:
    script = "metrics.redis_up.set({0}); metrics.redis_circuit_state.set(2 - 2 * {0}); "
    host.work(0, script.format(other))
    found = figures(host.work(1, script.format(1) + SCRAPE))
    assert found["redis_up", frozenset()] == other
    assert found["redis_circuit_state", frozenset()] == 2 - 2 * other
