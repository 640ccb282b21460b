"""What Stateroom counts and measures, for Prometheus.

One `Metrics` an application, with a registry of its own, so that a process can hold several (tests do). Children of
labelled metrics are looked up once: `metrics.session_loads["hit"].inc()`. Labels never hold an id, address or email.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from .hot import HotCounter, HotHistogram

PREFIX = "stateroom"

HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REDIS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
HASH_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2)
LIFETIME_BUCKETS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 604800, 2592000)
BYTES_BUCKETS = (64, 256, 1024, 4096, 16384, 65536)

END_REASONS = ("logout", "revoked", "password", "disabled", "expired", "rotated", "limit")
LOAD_RESULTS = ("hit", "miss", "invalid", "degraded")
STORE_STATES = ("settled", "unsettled", "read_only", "away")
LOGIN_RESULTS = ("success", "failure", "throttled", "degraded")

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)


class Children(dict[str, MetricT], Generic[MetricT]):
    """A metric's children by its one label, each made when first asked for and kept."""

    def __init__(self, metric: MetricT, known: Iterable[str] = ()) -> None:
        super().__init__()
        self._metric = metric
        for label in known:
            self[label]

    def __missing__(self, label: str) -> MetricT:
        child = self[label] = self._metric.labels(label)
        return child


class Metrics:
    """Every metric of one application."""

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        self.sessions_active = gauge("sessions_active", "Live sessions of the whole fleet; NaN while unknown")
        self.sessions_created = counter("sessions_created", "Sessions stored anew")
        self.sessions_restored = counter("sessions_restored", "Sessions that Redis had lost, stored again")
        self.sessions_ended = Children(counter("sessions_ended", "Sessions ended, by reason", "reason"), END_REASONS)
        self.session_lifetime = histogram("session_lifetime_seconds", "From creation to end", LIFETIME_BUCKETS)
        self.session_bytes = histogram("session_bytes", "Serialised data of a session, at save", BYTES_BUCKETS)
        loads = HotCounter(registry, f"{PREFIX}_session_loads", "Session loads, by result", ["result"]).children
        self.session_loads = {result: loads[result,] for result in LOAD_RESULTS}

        self.logins = Children(counter("logins", "Sign-ins tried, by result", "result"), LOGIN_RESULTS)
        self.password_hash_duration = histogram("password_hash_duration_seconds", "One bcrypt computation", HASH_BUCKETS)
        self.password_hash_queue_depth = gauge("password_hash_queue_depth", "Computations that wait for a thread")

        self.redis_up = gauge("redis_up", "1 while Redis answers")
        self.redis_circuit_state = gauge("redis_circuit_state", "0 closed, 1 half open, 2 open")
        self.redis_command_duration = HotHistogram(
            registry, f"{PREFIX}_redis_command_duration_seconds", "From asking to the reply", ["command"], REDIS_BUCKETS
        ).children
        self.redis_errors = Children(counter("redis_errors", "Faults of the store, by kind", "kind"))
        self.store_state = Children(gauge("store_state", "1 for the state that the store is in", "state"), STORE_STATES)
        self.redis_wait_shortfalls = counter("redis_wait_shortfalls", "Identity writes that too few replicas had in time")
        self.journal_tail_age = gauge("journal_tail_age_seconds", "Since the last good read of the journal began; NaN without one")
        self.revocations_pending = gauge("revocations_pending", "Acknowledged ends that wait for the journal to come back")
        self.redis_failovers = counter("redis_failovers", "Changes of primary that this process followed")
        self.sentinel_up = Children(gauge("sentinel_up", "1 while this Sentinel answers", "sentinel"))
        self.redis_pool_connections = Children(gauge("redis_pool_connections", "Pooled connections", "state"), ("idle", "in_use"))
        self.redis_pool_connections_max = gauge("redis_pool_connections_max", "Most connections the pool may have")
        self.redis_pool_pending = gauge("redis_pool_pending", "Callers that wait for a pooled connection")
        self.redis_pool_acquire_duration = histogram(
            "redis_pool_acquire_duration_seconds", "Wait for a pooled connection", REDIS_BUCKETS
        )
        self.redis_pool_timeouts = counter("redis_pool_timeouts", "Waits for a pooled connection that were given up")

        self.http_requests = HotCounter(registry, "http_requests", "Requests answered", ["method", "route", "code"]).children
        self.http_request_duration = HotHistogram(
            registry, "http_request_duration_seconds", "From a request's headers to its answer", ["method", "route"], HTTP_BUCKETS
        ).children
        gauge("build_info", "Always 1; says what runs", "version", "python").labels(version, platform.python_version()).set(1)
