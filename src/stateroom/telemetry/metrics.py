"""What Stateroom counts and measures, for Prometheus.

One `Metrics` an application, with a registry of its own, so that a process can hold several (tests do). Children of
labelled metrics are looked up once: `metrics.session_loads["hit"].inc()`. Labels never hold an id, address or email.

With several workers on a host (`workers.py`), `mode` says how a gauge's figures become one: those of connections and
queues are added up (`livesum`), of states the worst is taken (`livemin`, `livemax`), of what all see alike the latest.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from typing import Generic, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from .hot import Distribution, HotCount, hot_counter, hot_histogram
from .workers import all_workers, is_shared

PREFIX = "stateroom"

HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REDIS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
HASH_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2)
LIFETIME_BUCKETS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 604800, 2592000)
BYTES_BUCKETS = (64, 256, 1024, 4096, 16384, 65536)

END_REASONS = ("logout", "revoked", "password", "disabled", "expired", "rotated", "limit")
LOAD_RESULTS = ("hit", "miss", "invalid", "degraded")
STORE_STATES = ("settled", "unsettled", "read_only", "away")
"""From the best to the worst."""
LOOPS = ("journal tail", "journal apply", "housekeeping", "figures", "cluster topology")
LOGIN_RESULTS = ("success", "failure", "throttled", "degraded")

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)
Mode = Literal["livesum", "livemin", "livemax", "livemostrecent"]


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
    """Every metric of one application. Whatever reads `registry` sees the figures of that moment.

    `is_shared`: this process is one of several workers; `registry` then has its own figures only, `scraped` all.
    """

    def __init__(self, version: str = "") -> None:  # noqa: PLR0915 (a list)
        self.is_shared = is_shared()
        self.registry = registry = CollectorRegistry()
        self._samplers: list[Callable[[], None]] = []
        registry.register(_Refreshing(self.refresh))  # the first: those after it are read when it has run
        self.scraped = all_workers(f"{PREFIX}_store_state", "state", STORE_STATES[::-1]) if self.is_shared else registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, mode: Mode = "livesum") -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        self.sessions_active = gauge(
            "sessions_active", "Live sessions of the whole fleet; NaN while unknown", mode="livemostrecent"
        )
        self.sessions_created = counter("sessions_created", "Sessions stored anew")
        self.sessions_restored = counter("sessions_restored", "Sessions that Redis had lost, stored again")
        self.sessions_ended = Children(counter("sessions_ended", "Sessions ended, by reason", "reason"), END_REASONS)
        self.session_lifetime = histogram("session_lifetime_seconds", "From creation to end", LIFETIME_BUCKETS)
        self.session_bytes = histogram("session_bytes", "Serialised data of a session, at save", BYTES_BUCKETS)
        loads = hot_counter(registry, f"{PREFIX}_session_loads", "Session loads, by result", ["result"])
        self.session_loads = {result: loads[result,] for result in LOAD_RESULTS}
        self.session_cache_hits = HotCount(counter("session_cache_hits", "Loads that a copy answered, without a Redis command"))
        copied: dict[tuple[str, ...], HotCount] = {(): self.session_cache_hits}

        self.logins = Children(counter("logins", "Sign-ins tried, by result", "result"), LOGIN_RESULTS)
        self.password_hash_duration = histogram("password_hash_duration_seconds", "One bcrypt computation", HASH_BUCKETS)
        self.password_hash_queue_depth = gauge("password_hash_queue_depth", "Computations that wait for a thread")
        self.password_hash_refusals = counter("password_hash_refusals", "Computations refused because too many wait")

        self.redis_up = gauge("redis_up", "1 while Redis answers", mode="livemin")
        self.redis_circuit_state = gauge("redis_circuit_state", "0 closed, 1 half open, 2 open", mode="livemax")
        self.redis_command_duration = hot_histogram(
            registry, f"{PREFIX}_redis_command_duration_seconds", "From asking to the reply", ["command"], REDIS_BUCKETS
        )
        self.redis_errors = Children(counter("redis_errors", "Faults of the store, by kind", "kind"))
        self.store_state = Children(
            gauge("store_state", "1 for the state that the store is in", "state", mode="livemax"), STORE_STATES
        )
        self.redis_wait_shortfalls = counter("redis_wait_shortfalls", "Identity writes that too few replicas had in time")
        self.journal_tail_age = gauge(
            "journal_tail_age_seconds", "Since the last good read of the journal began; NaN without one", mode="livemax"
        )
        self.revocations_pending = gauge("revocations_pending", "Acknowledged ends that wait for the journal to come back")
        self.redis_failovers = counter("redis_failovers", "Changes of primary that a process followed")
        self.sentinel_up = Children(gauge("sentinel_up", "1 while this Sentinel answers", "sentinel", mode="livemin"))
        self.redis_connections_opened = counter("redis_connections_opened", "Connections made to primaries")
        self.redis_multiplexer_pending = gauge("redis_multiplexer_pending", "Commands on the shared connection without a reply yet")
        self.redis_pool_connections = Children(gauge("redis_pool_connections", "Pooled connections", "state"), ("idle", "in_use"))
        self.redis_pool_connections_max = gauge("redis_pool_connections_max", "Most connections the pool may have")
        self.redis_pool_pending = gauge("redis_pool_pending", "Callers that wait for a pooled connection")
        self.redis_pool_acquire_duration = histogram(
            "redis_pool_acquire_duration_seconds", "Wait for a pooled connection", REDIS_BUCKETS
        )
        self.redis_pool_timeouts = counter("redis_pool_timeouts", "Waits for a pooled connection that were given up")
        self.redis_evicted_keys = gauge(
            "redis_evicted_keys",
            "Keys that the primaries have evicted since their start; NaN while unknown",
            mode="livemostrecent",
        )
        self.redis_memory_used = gauge(
            "redis_memory_used_bytes", "Memory of the fullest primary; NaN while unknown", mode="livemostrecent"
        )
        self.redis_memory_max = gauge(
            "redis_memory_max_bytes", "Its maxmemory, 0 without a limit; NaN while unknown", mode="livemostrecent"
        )
        self.redis_connected_replicas = gauge(
            "redis_connected_replicas", "Replicas of the primary that has fewest; NaN while unknown", mode="livemostrecent"
        )

        self.http_requests = hot_counter(registry, "http_requests", "Requests answered", ["method", "route", "code"])
        self.http_request_duration = hot_histogram(
            registry, "http_request_duration_seconds", "From a request's headers to its answer", ["method", "route"], HTTP_BUCKETS
        )
        self._hot: tuple[dict[tuple[str, ...], HotCount] | dict[tuple[str, ...], Distribution], ...] = (
            loads, copied, self.redis_command_duration, self.http_requests, self.http_request_duration,
        )  # fmt: skip

        self.loop_errors = Children(
            counter("loop_errors", "Turns of a process' own loops that an error ended which nobody foresaw", "loop"), LOOPS
        )
        gauge("workers", "Processes of this host that serve").set(1)
        self.worker_restarts = counter("worker_restarts", "Workers started in place of one that died")
        gauge("build_info", "Always 1; says what runs", "version", "python", mode="livemax").labels(
            version, platform.python_version()
        ).set(1)
        if self.is_shared:
            self._samplers.append(_ProcessFigures(registry))
        else:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

    def sample(self, sampler: Callable[[], None]) -> None:
        """Have this called before figures are read, to set gauges of what is true at that moment."""
        self._samplers.append(sampler)

    def refresh(self) -> None:
        """Bring every figure up to date. With several workers each does so a few times a second."""
        for sampler in self._samplers:
            sampler()
        for children in self._hot:
            for child in children.values():
                child.flush()


class _Refreshing(Collector):
    """Has no metrics: comes first in a registry and refreshes those of the others."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._refresh()
        return ()


class _ProcessFigures:
    """What `ProcessCollector` tells of one process, so that it can be added up over workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._collector = ProcessCollector(registry=None)
        self._cpu = Counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.", registry=registry)
        self._cpu_before = 0.0
        self._gauges = {
            name: Gauge(name, text, registry=registry, multiprocess_mode="livesum")
            for name, text in {
                "process_resident_memory_bytes": "Resident memory size in bytes.",
                "process_open_fds": "Number of open file descriptors.",
            }.items()
        }

    def __call__(self) -> None:
        for family in self._collector.collect():
            for sample in family.samples:
                if sample.name in self._gauges:
                    self._gauges[sample.name].set(sample.value)
                elif sample.name == "process_cpu_seconds_total":
                    self._cpu.inc(sample.value - self._cpu_before)
                    self._cpu_before = sample.value
