"""Virtual time: an event loop that never waits. When nothing can be done, its clock moves on to the next timer."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Iterator
from unittest import mock

EPOCH = 1_700_000_000.0


class Clock:
    """What `time.monotonic` and `time.time` say in virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now

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
