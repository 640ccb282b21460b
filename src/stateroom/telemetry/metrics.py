"""The metrics that Stateroom gives to Prometheus.

Each application has one `Metrics` with its own registry. Therefore a process can hold several applications, as tests do.
Each labelled child is looked up only once: `metrics.session_loads["hit"].inc()`. Labels never hold an id, an address or an
email.

If a host has several workers (`workers.py`), the `mode` of a gauge says how their values become one value. Connections and
queues are added up (`livesum`). Of states, the worst one is taken (`livemin`, `livemax`). If all workers see the same
value, the latest is taken (`livemostrecent`).
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

END_REASONS = (
    "logout", "revoked", "password", "disabled", "expired", "rotated", "limit", "unknown-user", "everybody",
)  # fmt: skip
LOAD_RESULTS = ("hit", "miss", "invalid", "degraded")
REDIS_ERROR_KINDS = (
    "connection", "timeout", "readonly", "refused", "busy", "credentials", "pool_exhausted", "overloaded", "closed",
)  # fmt: skip
"""The kinds of `StoreUnavailable` that are counted. Each has its series from startup on, so that alerts see the first error."""
STORE_STATES = ("settled", "unsettled", "read_only", "away")
"""Ordered from the best to the worst."""
LOOPS = ("journal tail", "journal replay", "housekeeping", "figures", "cluster topology", "settings files", "sentinel row", "mail")
LOGIN_RESULTS = ("success", "failure", "throttled", "degraded")
MAIL_RESULTS = ("sent", "deferred", "failed")

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)
Mode = Literal["livesum", "livemin", "livemax", "livemostrecent"]


class Children(dict[str, MetricT], Generic[MetricT]):
    """A metric's children by its one label. Each child is made at its first use and kept."""

    def __init__(self, metric: MetricT, known: Iterable[str] = ()) -> None:
        super().__init__()
        self._metric = metric
        for label in known:
            self[label]

    def __missing__(self, label: str) -> MetricT:
        child = self[label] = self._metric.labels(label)
        return child


class Metrics:
    """All metrics of one application. A reader of `registry` gets the values of that moment.

    `is_shared`: this process is one of several workers. Then `registry` has only the values of this worker, and `scraped`
    has the values of all workers.
    """

    def __init__(self, version: str = "") -> None:  # noqa: PLR0915 (a list)
        self.is_shared = is_shared()
        self.registry = registry = CollectorRegistry()
        self._samplers: list[Callable[[], None]] = []
        registry.register(_Refreshing(self.refresh))  # registered first, so that it runs before the others are read
        self.scraped = registry
        if self.is_shared:
            self.scraped = all_workers(f"{PREFIX}_store_state", "state", STORE_STATES[::-1], restarts=f"{PREFIX}_worker_restarts")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, mode: Mode = "livesum") -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        self.sessions_active = gauge(
            "sessions_active", "Live sessions of the whole deployment; NaN while the number is unknown", mode="livemostrecent"
        )
        self.sessions_created = counter("sessions_created", "New sessions stored")
        self.sessions_restored = counter("sessions_restored", "Sessions stored again after Redis had lost them")
        self.sessions_ended = Children(counter("sessions_ended", "Sessions that ended, by reason", "reason"), END_REASONS)
        self.session_lifetime = histogram(
            "session_lifetime_seconds", "Time in seconds from a session's creation to its end", LIFETIME_BUCKETS
        )
        self.session_bytes = histogram("session_bytes", "Size in bytes of a session's serialised data, at each save", BYTES_BUCKETS)
        loads = hot_counter(registry, f"{PREFIX}_session_loads", "Loads of a session, by result", ["result"])
        self.session_loads = {result: loads[result,] for result in LOAD_RESULTS}
        self.session_cache_hits = HotCount(
            counter("session_cache_hits", "Sessions read from the worker's own near cache, without a Redis command")
        )
        copied: dict[tuple[str, ...], HotCount] = {(): self.session_cache_hits}

        self.logins = Children(counter("logins", "Sign-in attempts, by result", "result"), LOGIN_RESULTS)
        self.password_hash_duration = histogram(
            "password_hash_duration_seconds", "Time in seconds that one password hash takes", HASH_BUCKETS
        )
        self.password_hash_queue_depth = gauge("password_hash_queue_depth", "Passwords that wait to be hashed")
        self.password_hash_refusals = counter(
            "password_hash_refusals", "Requests refused with 503 because too many passwords were waiting"
        )

        self.mails = Children(
            counter("mails", "Attempts to send a mail, by result: sent, to be tried again, or never to arrive", "result"),
            MAIL_RESULTS,
        )
        self.mails_waiting = gauge(
            "mails_waiting",
            "Mails of the whole deployment that are not sent yet; NaN while the number is unknown",
            mode="livemostrecent",
        )
        self.mail_oldest_age = gauge(
            "mail_oldest_age_seconds",
            "Seconds since the oldest mail that is not sent yet was written, 0 if none waits; NaN while unknown",
            mode="livemostrecent",
        )

        self.redis_up = gauge("redis_up", "1 while Redis is available, else 0", mode="livemin")
        self.redis_circuit_state = gauge(
            "redis_circuit_state", "State of the circuit breaker for Redis: 0 closed, 1 half open, 2 open", mode="livemax"
        )
        self.redis_command_duration = hot_histogram(
            registry,
            f"{PREFIX}_redis_command_duration_seconds",
            "Time in seconds from a command to its reply, on the shared connection",
            ["command"],
            REDIS_BUCKETS,
        )
        self.redis_errors = Children(
            counter("redis_errors", "Errors of Redis and of connections to it, by kind", "kind"), REDIS_ERROR_KINDS
        )
        self.store_state = Children(
            gauge(
                "store_state",
                "State of Redis as this host sees it: 1 for the present state, 0 for the other states",
                "state",
                mode="livemax",
            ),
            STORE_STATES,
        )
        self.redis_wait_shortfalls = counter(
            "redis_wait_shortfalls",
            "Sign-ins, sign-outs and similar writes that fewer than REDIS_WRITE_REPLICAS replicas confirmed in time",
        )
        self.journal_tail_age = gauge(
            "journal_tail_age_seconds",
            "Seconds since the last successful read of the journal began; usually below JOURNAL_LEASE, NaN without a journal",
            mode="livemax",
        )
        self.revocations_pending = gauge(
            "revocations_pending", "Sign-outs and revocations that were acknowledged but are not stored in the user database yet"
        )
        self.redis_failovers = counter("redis_failovers", "Times that a worker switched to a new Redis primary")
        self.sentinel_up = Children(gauge("sentinel_up", "1 while this Sentinel replies, else 0", "sentinel", mode="livemin"))
        self.sentinels_rebuilt = gauge(
            "sentinels_rebuilt",
            "1 while most Sentinels name a lower config epoch than the deployment's, or another primary in the same one, else 0",
            mode="livemax",
        )
        self.redis_connections_opened = counter("redis_connections_opened", "Connections that were opened to Redis primaries")
        self.redis_multiplexer_pending = gauge(
            "redis_multiplexer_pending", "Commands on the shared connection that have no reply yet"
        )
        self.redis_pool_connections = Children(
            gauge("redis_pool_connections", "Connections in the pool, by state", "state"), ("idle", "in_use")
        )
        self.redis_pool_connections_max = gauge(
            "redis_pool_connections_max", "Maximum number of connections in the pool (REDIS_POOL_SIZE)"
        )
        self.redis_pool_pending = gauge("redis_pool_pending", "Requests that wait for a pooled connection")
        self.redis_pool_acquire_duration = histogram(
            "redis_pool_acquire_duration_seconds", "Time in seconds that a request waited for a pooled connection", REDIS_BUCKETS
        )
        self.redis_pool_timeouts = counter("redis_pool_timeouts", "Waits for a pooled connection that timed out")
        self.redis_connections_replaced = Children(
            counter("redis_connections_replaced", "Idle pooled connections that did not work any more, by reason", "reason"),
            ("closed", "silent", "dropped"),
        )
        self.redis_evicted_keys = gauge(
            "redis_evicted_keys",
            "Keys that the Redis primaries have evicted since they started; NaN while unknown",
            mode="livemostrecent",
        )
        self.redis_memory_used = gauge(
            "redis_memory_used_bytes",
            "Memory in bytes that the fullest Redis primary uses; NaN while unknown",
            mode="livemostrecent",
        )
        self.redis_memory_max = gauge(
            "redis_memory_max_bytes",
            "maxmemory in bytes of the fullest Redis primary, 0 without a limit; NaN while unknown",
            mode="livemostrecent",
        )
        self.redis_connected_replicas = gauge(
            "redis_connected_replicas",
            "Number of replicas of the Redis primary with the fewest replicas; NaN while unknown",
            mode="livemostrecent",
        )

        self.http_requests = hot_counter(
            registry, "http_requests", "Responses, by method, route and status", ["method", "route", "code"]
        )
        self.http_request_duration = hot_histogram(
            registry,
            "http_request_duration_seconds",
            "Time in seconds from a request's headers to its response",
            ["method", "route"],
            HTTP_BUCKETS,
        )
        self._hot: tuple[dict[tuple[str, ...], HotCount] | dict[tuple[str, ...], Distribution], ...] = (
            loads, copied, self.redis_command_duration, self.http_requests, self.http_request_duration,
        )  # fmt: skip

        self.loop_errors = Children(counter("loop_errors", "Unexpected errors in background tasks, by task", "loop"), LOOPS)
        gauge("workers", "Workers that serve on this host").set(1)
        self.workers_wanted = gauge("workers_wanted", "Workers that this host should have (--workers)", mode="livemax")
        self.workers_wanted.set(1)
        counter("worker_restarts", "Workers that were started in place of one that died")
        gauge(
            "build_info", "Always 1; the labels have the versions of Stateroom and Python", "version", "python", mode="livemax"
        ).labels(version, platform.python_version()).set(1)
        if self.is_shared:
            self._samplers.append(_ProcessFigures(registry))
        else:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

    def sample(self, sampler: Callable[[], None]) -> None:
        """Register a function that is called before values are read. It sets gauges to their present values."""
        self._samplers.append(sampler)

    def refresh(self) -> None:
        """Update every value. If there are several workers, each of them calls this four times a second."""
        for sampler in self._samplers:
            sampler()
        for children in self._hot:
            for child in children.values():
                child.flush()


class _Refreshing(Collector):
    """Has no metrics of its own. It is the first in the registry, and updates the values of the others."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._refresh()
        return ()


class _ProcessFigures:
    """The values of `ProcessCollector` for one worker, as metrics that can be added up over all workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._collector = ProcessCollector(registry=None)
        self._cpu = Counter("process_cpu_seconds", "User and system CPU time in seconds, of all workers", registry=registry)
        self._cpu_before = 0.0
        self._gauges = {
            name: Gauge(name, text, registry=registry, multiprocess_mode="livesum")
            for name, text in {
                "process_resident_memory_bytes": "Resident memory in bytes, of all workers",
                "process_open_fds": "Open file descriptors, of all workers",
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
