"""Counters and histograms for what happens on every request.

prometheus-client's own take a lock and a microsecond for each figure, several times a request; in files shared by
workers, twice that. These take a list index: an event loop has one thread, and `flush` hands over what came together
since the last time, when somebody scrapes or a few times a second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import time
from typing import TypeVar

from prometheus_client import Counter, Histogram
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

ChildT = TypeVar("ChildT")


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


class HotDistribution:
    """One histogram's figures."""

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
        """The same, with the request as the bucket's example."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        self._exemplars[bucket] = (request_id, value, time())

    def flush(self) -> None:
        # prometheus-client has no public way to add many observations at once.
        histogram = self._histogram
        if not any(self._counts):
            return
        histogram._sum.inc(self._sum)  # noqa: SLF001
        self._sum = 0.0
        for bucket, count in enumerate(self._counts):
            if count:
                histogram._buckets[bucket].inc(count)  # noqa: SLF001
                self._counts[bucket] = 0
        for bucket, (request_id, value, at) in self._exemplars.items():
            histogram._buckets[bucket].set_exemplar(Exemplar({"request_id": request_id}, value, at))  # noqa: SLF001
        self._exemplars.clear()


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
) -> Children[HotDistribution]:
    """A histogram, by label values."""
    histogram = Histogram(name, text, labels, buckets=bounds, registry=registry)
    return Children(lambda values: HotDistribution(histogram.labels(*values), bounds))
