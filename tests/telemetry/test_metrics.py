"""Each application has its own counters, and their figures agree with prometheus-client's."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from stateroom.insides import of_prometheus
from stateroom.telemetry.hot import HotDistribution, hot_counter, hot_histogram
from stateroom.telemetry.metrics import Metrics


def test_two_applications_of_one_process_count_apart() -> None:
    one, other = Metrics("1"), Metrics("1")
    one.sessions_created.inc()
    one.session_loads["hit"].inc()
    for metrics, expected in ((one, 1), (other, 0)):
        metrics.refresh()
        for name, labels in [("stateroom_sessions_created_total", {}), ("stateroom_session_loads_total", {"result": "hit"})]:
            assert metrics.registry.get_sample_value(name, labels) == expected


@pytest.fixture(params=["prometheus-client is known", "prometheus-client is unknown"])
def knows_prometheus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "prometheus-client is unknown":
        monkeypatch.setattr(of_prometheus, "is_known", lambda: False)
    return of_prometheus.is_known()


def test_a_hot_histogram_reads_as_an_ordinary_one(knows_prometheus: bool) -> None:
    bounds = (0.005, 0.5, 1, 2.5)
    registries = CollectorRegistry(), CollectorRegistry()
    hot = hot_histogram(registries[0], "seconds", "Time", ["route"], bounds)["/x",]
    assert isinstance(hot, HotDistribution) is knows_prometheus
    ordinary = Histogram("seconds", "Time", ["route"], buckets=bounds, registry=registries[1]).labels("/x")
    for values in ((0.001, 0.005, 0.25), (1, 2.75, 128), ()):
        for value in values:
            hot.observe(value)
            ordinary.observe(value)
        hot.flush()
        read = [[sample[:3] for family in registry.collect() for sample in family.samples] for registry in registries]
        told, expected = ([sample for sample in samples if sample[0] != "seconds_created"] for samples in read)
        assert told == expected
        assert len(told) == len(bounds) + 3


def test_what_was_counted_is_handed_over_once() -> None:
    registry = CollectorRegistry()
    things = hot_counter(registry, "things", "Things", ["kind"])["odd",]
    for expected in (2.0, 4.0):
        things.inc()
        things.inc()
        things.flush()
        things.flush()
        assert registry.get_sample_value("things_total", {"kind": "odd"}) == expected


@pytest.mark.usefixtures("knows_prometheus")
def test_whoever_reads_the_registry_sees_the_figures_of_that_moment() -> None:
    metrics = Metrics("1")
    waiting = 0.0
    metrics.sample(lambda: metrics.redis_pool_pending.set(waiting))
    for waiting in (3.0, 7.0):
        metrics.http_requests["GET", "/x", "200"].inc()
        assert f"stateroom_redis_pool_pending {waiting}" in generate_latest(metrics.registry).decode()
    assert metrics.registry.get_sample_value("http_requests_total", {"method": "GET", "route": "/x", "code": "200"}) == 2


@pytest.mark.usefixtures("knows_prometheus")
def test_a_bucket_names_the_request_that_it_saw_last_in_openmetrics() -> None:
    metrics = Metrics("1")
    duration = metrics.http_request_duration["GET", "/x"]
    duration.observe_request(0.3, "the-first")
    duration.observe_request(0.4, "the-last")
    openmetrics = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
    [line] = [line for line in openmetrics.splitlines() if "the-" in line]
    assert 'le="0.5"' in line
    assert '# {request_id="the-last"} 0.4' in line
    assert "the-last" not in generate_latest(metrics.registry).decode()


@pytest.mark.usefixtures("knows_prometheus")
def test_an_id_too_long_for_an_example_is_counted_and_not_shown() -> None:
    metrics = Metrics("1")
    duration = metrics.http_request_duration["GET", "/x"]
    for length in (118, 119, 128):
        duration.observe_request(0.3, "x" * length)
    openmetrics = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
    assert metrics.registry.get_sample_value("http_request_duration_seconds_count", {"method": "GET", "route": "/x"}) == 3
    assert "x" * 119 not in openmetrics
