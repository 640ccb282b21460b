"""What a session manager works with once its process has connected to the stores, and how the parts hang together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from .apply import Apply
from .covering import Covering
from .ends import Ends
from .honour import Honour
from .loading import Loading
from .restore import Restore
from .signing import Signing
from .store import SessionStore
from .tail import Tail
from .writes import Durability

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .clock import StoreClock
    from .keys import Keys
    from .rows import EndsJournal

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores themselves, and each step of a session's life that needs them."""

    client: RedisClient
    store: SessionStore
    journal: EndsJournal
    tail: Tail
    covering: Covering
    apply: Apply
    honour: Honour
    ends: Ends
    restore: Restore
    loading: Loading
    signing: Signing


def connect(
    client: RedisClient, journal: EndsJournal, *, settings: Settings, metrics: Metrics, keys: Keys, clock: StoreClock
) -> Stores:
    """Put the parts together over these two stores."""

    def note_shortfall(script: str, reached: int) -> None:
        metrics.redis_wait_shortfalls.inc()
        log.warning("redis_wait_shortfall", step=script, replicas=reached, wanted=settings.redis_write_replicas)

    store = SessionStore(
        client,
        keys,
        clock,
        max_bytes=settings.session_max_bytes,
        timeout=settings.redis_read_timeout,
        durability=Durability(settings.redis_write_replicas, settings.redis_write_replicas_timeout, note_shortfall),
    )
    tail = Tail(journal, clock)
    covering = Covering(journal, lambda: tail.is_away)
    apply = Apply(client, store, journal, tail, keys, is_fleet=settings.redis_mode in {"sentinel", "cluster"})
    honour = Honour(
        tail,
        covering,
        apply,
        clock,
        is_kept=journal.is_kept,
        is_required=settings.journal_required,
        degraded_ms=settings.degraded_max_age * 1000,
    )
    shared: dict[str, Any] = {
        "settings": settings, "metrics": metrics, "client": client, "store": store, "honour": honour, "clock": clock,
    }  # fmt: skip
    ends = Ends(journal=journal, tail=tail, **shared)
    restore = Restore(store, honour, metrics)
    loading = Loading(restore=restore, **shared)
    signing = Signing(
        settings=settings, metrics=metrics, store=store, journal=journal, honour=honour, ends=ends, loading=loading, clock=clock,
    )  # fmt: skip
    return Stores(client, store, journal, tail, covering, apply, honour, ends, restore, loading, signing)
