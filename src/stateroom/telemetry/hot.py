"""Counters and histograms for what happens on every request.

prometheus-client's own take a lock and a microsecond for each figure, several times a request; in files shared by
workers, twice that. These take a list index: an event loop has one thread, and `flush` hands over what came together
since the last time, when somebody scrapes or a few times a second.
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
    """One counter's figure. `pending`: counted since the last flush."""

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
    """One histogram's figures. `observe_request` makes the request the example of its bucket."""

    def observe(self, value: float) -> None: ...
    def observe_request(self, value: float, request_id: str) -> None: ...
    def flush(self) -> None: ...


class HotDistribution:
    """One histogram's figures, added up until the next flush."""

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
    """One histogram's figures, each of them given to prometheus-client as it comes: it documents no other way."""

    __slots__ = ("_histogram",)

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def observe(self, value: float) -> None:
        self._histogram.observe(value)

    def observe_request(self, value: float, request_id: str) -> None:
        self._histogram.observe(value, {_EXEMPLAR_LABEL: request_id} if len(request_id) <= _LONGEST_EXEMPLAR else None)

    def flush(self) -> None:
        """Nothing is held back."""


class Children(dict[tuple[str, ...], ChildT]):
    """A metric's children by their label values, each made when first asked for."""

    def __init__(self, make: Callable[[tuple[str, ...]], ChildT]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, values: tuple[str, ...]) -> ChildT:
        child = self[values] = self._make(values)
        return child


def hot_counter(registry: CollectorRegistry, name: str, text: str, labels: Sequence[str]) -> Children[HotCount]:
    """A counter, by label values."""
    counter = Counter(name, text, labels, registry=registry)
    return Children(lambda values: HotCount(counter.labels(*values)))


def hot_histogram(
    registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
) -> Children[Distribution]:
    """A histogram, by label values."""
    histogram = Histogram(name, text, labels, buckets=bounds, registry=registry)
    if not of_prometheus.is_known():
        return Children(lambda values: PlainDistribution(histogram.labels(*values)))
    return Children(lambda values: HotDistribution(histogram.labels(*values), bounds))
