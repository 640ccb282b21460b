"""Counting: each application by itself, and figures that agree with prometheus-client's own."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from stateroom.telemetry.hot import HotCounter, HotHistogram
from stateroom.telemetry.metrics import Metrics


def test_two_applications_of_one_process_count_apart() -> None:
    one, other = Metrics("1"), Metrics("1")
    one.sessions_created.inc()
    one.session_loads["hit"].inc()
    for name, labels in [("stateroom_sessions_created_total", {}), ("stateroom_session_loads_total", {"result": "hit"})]:
        assert one.registry.get_sample_value(name, labels) == 1
        assert other.registry.get_sample_value(name, labels) == 0


def test_a_hot_histogram_reads_as_an_ordinary_one() -> None:
    bounds = (0.005, 0.5, 1, 2.5)
    hot_registry, registry = CollectorRegistry(), CollectorRegistry()
    hot = HotHistogram(hot_registry, "seconds", "Time", ["route"], bounds)
    ordinary = Histogram("seconds", "Time", ["route"], buckets=bounds, registry=registry)
    for value in (0.001, 0.005, 0.3, 1, 2.6, 100):
        hot.children["/x",].observe(value)
        ordinary.labels("/x").observe(value)
    [family] = ordinary.collect()
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            assert hot_registry.get_sample_value(sample.name, sample.labels) == sample.value


def test_hot_figures_can_be_exposed_in_both_formats() -> None:
    registry = CollectorRegistry()
    counter = HotCounter(registry, "things", "Things", ["kind"])
    HotHistogram(registry, "seconds", "Time", ["route"], (1,)).children["/x",].observe(0.5)
    counter.children["odd",].inc()
    for generate in (generate_latest, generate_openmetrics):
        text = generate(registry).decode()
        assert 'things_total{kind="odd"} 1.0' in text
        assert 'seconds_bucket{le="1.0",route="/x"} 1.0' in text or 'seconds_bucket{route="/x",le="1.0"} 1.0' in text


def test_a_name_cannot_be_taken_twice() -> None:
    registry = CollectorRegistry()
    HotCounter(registry, "things", "Things", ["kind"])
    with pytest.raises(ValueError, match="Duplicated"):
        HotCounter(registry, "things", "Things", ["kind"])
