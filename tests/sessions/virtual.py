"""Virtual time: an event loop that never waits. When nothing can be done, its clock moves on to the next timer."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Iterator
from contextvars import ContextVar
from unittest import mock

EPOCH = 1_700_000_000.0


class Host:
    """Something with a wall clock of its own, which is wrong by `skew_seconds`."""

    def __init__(self) -> None:
        self.skew_seconds = 0.0


_HOST: ContextVar[Host | None] = ContextVar("_HOST", default=None)


@contextlib.contextmanager
def on_host(host: Host) -> Iterator[None]:
    """What is called here, and every task that is begun here, asks this host's wall clock."""
    token = _HOST.set(host)
    try:
        yield
    finally:
        _HOST.reset(token)


class Clock:
    """What `time.monotonic` and `time.time` say in virtual time. Only wall clocks differ between hosts."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        host = _HOST.get()
        return EPOCH + self.now + (host.skew_seconds if host is not None else 0.0)

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Have the module `time` tell this clock's time."""
        with mock.patch("time.monotonic", self.monotonic), mock.patch("time.time", self.time):
            yield


class _Idle(selectors.SelectSelector):
    """Instead of waiting, let time pass."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self._clock.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A test that is marked `virtual_time` runs on one (tests/sessions/conftest.py)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        super().__init__(_Idle(self.clock))

    def time(self) -> float:
        return self.clock.now
