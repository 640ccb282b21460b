"""The insides of prometheus-client: the values of a histogram, and the files that workers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import values

from .library import Library

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prometheus_client import Histogram
    from prometheus_client.samples import Exemplar

PROMETHEUS = Library("prometheus-client", tested=frozenset({"0.26"}))

FILE_KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_livemax", "gauge_livemostrecent")
_FILE_BYTES = 1 << 20


def is_known() -> bool:
    """Whether the rest of this file fits the installed prometheus-client."""
    return PROMETHEUS.is_known


def add_observations(histogram: Histogram, total: float, counts: Mapping[int, int]) -> None:
    """Add many observations at once. `total`: the sum of their values. `counts`: how many are in each bucket, by its number."""
    histogram._sum.inc(total)  # noqa: SLF001
    for bucket, count in counts.items():
        histogram._buckets[bucket].inc(count)  # noqa: SLF001


def set_exemplar(histogram: Histogram, bucket: int, exemplar: Exemplar) -> None:
    """Show this exemplar for the bucket of this number."""
    histogram._buckets[bucket].set_exemplar(exemplar)  # noqa: SLF001


def name_files_by(number: int, folder: Path) -> None:
    """Name this process's files by a number instead of its process id. Call this before the first metric is made."""
    for kind in FILE_KINDS:
        _make_whole(folder / f"{kind}_{number}.db")
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def _make_whole(path: Path) -> None:
    """Make an empty file of full size in one step, so that no reader finds it half made."""
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.truncate(_FILE_BYTES)
    draft.rename(path)
