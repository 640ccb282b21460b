"""Tests that are marked `virtual_time` run on a loop that never waits, and `time.monotonic` and `time.time` are its."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from .virtual import Clock, VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time") is not None:
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    """The clock of a test that is marked `virtual_time`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "mark the test virtual_time"
    with loop.clock.ticking():
        yield loop.clock


@pytest.fixture(autouse=True)
def _virtual_time(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("virtual_time") is not None:
        request.getfixturevalue("clock")
