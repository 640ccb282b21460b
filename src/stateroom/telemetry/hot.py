"""Counters and histograms that change at every request.

A counter of prometheus-client takes a lock and a microsecond for each change, and twice as long in files that workers
share. The classes here only change a number in memory, which is safe because an event loop has one thread. `flush` gives
the numbers to prometheus-client: at each scrape, and if there are several workers four times a second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import time
from typing import Protocol, TypeVar

from prometheus_client import Counter, Histogram
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

from ..insides import of_prometheus

ChildT = TypeVar("ChildT")

_EXEMPLAR_LABEL = "request_id"
_LONGEST_EXEMPLAR = 128 - len(_EXEMPLAR_LABEL)
"""Characters of an exemplar's value. OpenMetrics allows 128 for names and values of its labels together.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#exemplars
"""


class HotCount:
    """One counter. `pending`: the count since the last flush. `0 <= pending`."""

    __slots__ = ("_counter", "pending")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.pending = 0

    def inc(self) -> None:
        self.pending += 1

    def flush(self) -> None:
        if self.pending:
            self._counter.inc(self.pending)
            self.pending = 0


class Distribution(Protocol):
    """One histogram. `observe_request` also makes the request the exemplar of its bucket."""

    def observe(self, value: float) -> None: ...
    def observe_request(self, value: float, request_id: str) -> None: ...
    def flush(self) -> None: ...


class HotDistribution:
    """One histogram. Its observations are added up until the next flush.

    `_counts[i]`: the number of observations in bucket `i` since the last flush. The last bucket has no bound.
    `_sum`: the sum of these observations.
    `_exemplars`: the last request of each bucket, as its id, its value and its time (in seconds since 1970).
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_histogram", "_sum")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, tuple[str, float, float]] = {}

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_request(self, value: float, request_id: str) -> None:
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        self._exemplars[bucket] = (request_id, value, time())

    def flush(self) -> None:
        if not any(self._counts):
            return
        histogram = self._histogram
        of_prometheus.add_observations(histogram, self._sum, {bucket: count for bucket, count in enumerate(self._counts) if count})
        self._sum = 0.0
        self._counts = [0] * len(self._counts)
        for bucket, (request_id, value, at) in self._exemplars.items():
            if len(request_id) <= _LONGEST_EXEMPLAR:
                of_prometheus.set_exemplar(histogram, bucket, Exemplar({_EXEMPLAR_LABEL: request_id}, value, at))
        self._exemplars.clear()


class PlainDistribution:
    """One histogram. Its observations go to prometheus-client at once. No other way is documented by prometheus-client."""

    __slots__ = ("_histogram",)

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def observe(self, value: float) -> None:
        self._histogram.observe(value)

    def observe_request(self, value: float, request_id: str) -> None:
        self._histogram.observe(value, {_EXEMPLAR_LABEL: request_id} if len(request_id) <= _LONGEST_EXEMPLAR else None)

    def flush(self) -> None:
        """Do nothing, because nothing is held back."""


class Children(dict[tuple[str, ...], ChildT]):
    """A metric's children by their label values. Each child is made at its first use."""

    def __init__(self, make: Callable[[tuple[str, ...]], ChildT]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, values: tuple[str, ...]) -> ChildT:
        child = self[values] = self._make(values)
        return child


def hot_counter(registry: CollectorRegistry, name: str, text: str, labels: Sequence[str]) -> Children[HotCount]:
    """Make a counter, and return its children by label values."""
    counter = Counter(name, text, labels, registry=registry)
    return Children(lambda values: HotCount(counter.labels(*values)))


def hot_histogram(
    registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
) -> Children[Distribution]:
    """Make a histogram, and return its children by label values."""
    histogram = Histogram(name, text, labels, buckets=bounds, registry=registry)
    if not of_prometheus.is_known():
        return Children(lambda values: PlainDistribution(histogram.labels(*values)))
    return Children(lambda values: HotDistribution(histogram.labels(*values), bounds))
