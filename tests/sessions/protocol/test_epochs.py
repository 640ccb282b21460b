"""A worker that has lost the journal believes the copy of the epoch that a settled store has: over fakes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stateroom.settings import DEFAULT_LEASE_SECONDS as LEASE_SECONDS

from ..virtual import Clock
from .fleet import FakeFleet, fake_fleet, is_trusted

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def fleet(clock: Clock) -> AsyncIterator[FakeFleet]:
    async with fake_fleet() as made:
        yield made


async def test_no_request_is_refused_in_the_moment_when_the_journal_becomes_unavailable(fleet: FakeFleet) -> None:
    worker = await fleet.join()
    _, value = await worker.sign_in()
    worker.line.is_cut = True
    await asyncio.sleep(LEASE_SECONDS + 0.01)  # nothing has read the copy since
    assert is_trusted(await worker.manager.load(value))


async def test_everybodys_end_is_known_without_the_journal(fleet: FakeFleet) -> None:
    worker, other = await fleet.join(), await fleet.join()
    _, value = await worker.sign_in()
    worker.line.is_cut = True
    await other.manager.end_everybody()
    await asyncio.sleep(LEASE_SECONDS + 0.01)
    assert not is_trusted(await worker.manager.load(value))
