"""One `/metrics` for all workers of a host.

Each worker keeps its figures in files of a shared folder (prometheus_client's multiprocess mode). The worker that is
scraped adds them up. The files of a worker are named by its number and not by its process id. So the worker that replaces a
dead one continues its counters: counters never decrease, and the number of files does not grow. Figures that are true only
of a living worker, such as connections and states, are deleted when it dies.

prometheus-client does not document how to name the files (`insides/of_prometheus.py`). With a version whose insides we do
not know, they are named by the process id: the files of dead workers remain, and their counters with them.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, PlatformCollector, multiprocess
from prometheus_client.registry import Collector

from ..insides import of_prometheus

_RESTARTS = "restarts"
"""The name of the supervisor's file in the shared folder."""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder, in the environment of each worker."""


def is_shared() -> bool:
    """Whether this process is one of several that share their figures."""
    return FOLDER in os.environ


def join(number: int) -> None:
    """Make this process worker `number`. Call this before the first metric is made."""
    if of_prometheus.is_known():
        of_prometheus.name_files_by(number, Path(os.environ[FOLDER]))


def leave(folder: Path, number: int, process_id: int) -> None:
    """Delete the figures of a dead worker that are true only of a living one. The process that started it calls this."""
    file_name = number if of_prometheus.is_known() else process_id
    multiprocess.mark_process_dead(file_name, str(folder))  # type: ignore[no-untyped-call]


def count_restart(folder: Path) -> None:
    """Count one more worker that was started in place of a dead one. Only the supervisor calls this.

    The worker itself cannot count it: it may die before it has read its settings.
    """
    draft = folder / f"{_RESTARTS}.draft"
    draft.write_text(str(_restarts(folder) + 1), encoding="ascii")
    draft.rename(folder / _RESTARTS)


def clear_away() -> None:
    """Delete the shared folder. A worker calls this if the process that made the folder is dead."""
    shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def all_workers(metric: str, label: str, worst_first: Sequence[str], *, restarts: str) -> CollectorRegistry:
    """A registry with the figures of all workers. Of the states of `metric`, named by `label`, only the worst is 1.

    `restarts`: the counter that the supervisor keeps.
    """
    registry = CollectorRegistry()
    PlatformCollector(registry=registry)
    registry.register(_AllWorkers(metric, label, worst_first, restarts))
    return registry


class _AllWorkers(Collector):
    def __init__(self, metric: str, label: str, worst_first: Sequence[str], restarts: str) -> None:
        self._metric, self._label, self._worst_first, self._restarts = metric, label, worst_first, restarts

    def collect(self) -> Iterable[Metric]:
        for family in multiprocess.MultiProcessCollector(CollectorRegistry()).collect():  # type: ignore[no-untyped-call]
            if family.name == self._metric:
                self._keep_worst(family)
            elif family.name == self._restarts:
                count = float(_restarts(Path(os.environ[FOLDER])))
                family.samples = [sample._replace(value=count) for sample in family.samples]
            yield family

    def _keep_worst(self, family: Metric) -> None:
        """Set the worst state that any worker has to 1, and all others to 0."""
        had = {sample.labels[self._label] for sample in family.samples if sample.value}
        worst = next((state for state in self._worst_first if state in had), None)
        family.samples = [sample._replace(value=float(sample.labels[self._label] == worst)) for sample in family.samples]


def _restarts(folder: Path) -> int:
    try:
        return int((folder / _RESTARTS).read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
