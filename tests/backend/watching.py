"""A watcher of Sentinels, as long as a test uses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from stateroom.backend.dial import Dialer
from stateroom.backend.sentinel import SentinelWatcher
from stateroom.settings import DEFAULT_LEASE_SECONDS, Address
from stateroom.telemetry.metrics import Metrics

READ_TIMEOUT_SECONDS = 0.2


@contextlib.asynccontextmanager
async def watching(
    *addresses: Address,
    lease: float = DEFAULT_LEASE_SECONDS,
    timeout: float = READ_TIMEOUT_SECONDS,
    on_update: Callable[[], None] = lambda: None,
) -> AsyncIterator[SentinelWatcher]:
    """A watcher that is starting. `timeout`: of a dial and of a reply. `on_update`: called when it has judged an answer."""
    watcher = SentinelWatcher(
        addresses,
        "mymaster",
        Dialer(timeout, timeout),
        Metrics(),
        lease_seconds=lease,
        on_switch=lambda _: None,
        on_update=on_update,
    )
    starting = asyncio.create_task(watcher.start())
    try:
        yield watcher
    finally:
        await starting
        await watcher.aclose()
