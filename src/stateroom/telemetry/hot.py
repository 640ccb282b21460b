"""Counters and histograms for what happens on every request.

prometheus-client's own take a lock and a microsecond for each figure, several times a request. These take a list
index: an event loop has one thread, and the sums are made when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

ChildT = TypeVar("ChildT")


class HotCount:
    """One counter's figure."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def inc(self) -> None:
        self.total += 1


class HotDistribution:
    """One histogram's figures."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class _Children(dict[tuple[str, ...], ChildT]):
    """A metric's children by their label values, each made when first asked for."""

    def __init__(self, make: Callable[[], ChildT]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, values: tuple[str, ...]) -> ChildT:
        child = self[values] = self._make()
        return child


class HotCounter(Collector):
    """A counter; its figures are in `children`, by label values."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self.children: dict[tuple[str, ...], HotCount] = _Children(HotCount)
        registry.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in list(self.children.items()):
            family.add_metric(values, child.total)
        return [family]


class HotHistogram(Collector):
    """A histogram; its figures are in `children`, by label values."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, tuple(bounds)
        self.children: dict[tuple[str, ...], HotDistribution] = _Children(lambda: HotDistribution(self._bounds))
        registry.register(self)

    def describe(self) -> Iterable[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(f"{bound:g}" if bound % 1 else f"{bound:.1f}" for bound in self._bounds), "+Inf"]
        for values, child in list(self.children.items()):
            total, buckets = 0, []
            for bound, count in zip(bounds, child.counts, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric(values, buckets, child.sum)
        return [family]
