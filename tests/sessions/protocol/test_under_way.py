"""A save that failed arrives after a newer one was acknowledged: it must not undo it. On a real server behind a relay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.database import Database
from stateroom.errors import StoreUnavailable
from stateroom.sessions.model.identity import SessionRef
from stateroom.sessions.protocol import under_way
from stateroom.sessions.protocol.under_way import UnderWay
from stateroom.sessions.store.scripts import SCRIPTS
from stateroom.settings import Address
from stateroom.testing import settings

from ...relays import BaseRelay
from .fleet import Fleet, fleet_on

READ_TIMEOUT_SECONDS = 2.0
REF = SessionRef("ada", "one")


class LateRelay(BaseRelay):
    """When the bytes `holds_back` come, close the client's connection, and send the bytes to the server later. Proxies that drain
    do this.

    `passes_on`: set to send it. `is_passed_on`: set when the server has replied to it.
    """

    def __init__(self, target: Address) -> None:
        super().__init__()
        self._target = target
        self.holds_back: bytes | None = None
        self.passes_on, self.is_passed_on = asyncio.Event(), asyncio.Event()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._target.host, self._target.port)
        back = asyncio.create_task(_pump(inner_reader, writer))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                if self.holds_back is not None and self.holds_back in data:
                    self.holds_back = None
                    writer.transport.abort()
                    back.cancel()
                    await asyncio.wait([back])
                    await self.passes_on.wait()
                    inner_writer.write(data)
                    await inner_reader.read(65536)  # the script has run
                    self.is_passed_on.set()
                    break
                inner_writer.write(data)
        back.cancel()
        inner_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    database = Database(settings(database_url=f"sqlite:///{tmp_path}/users.db"))
    await database.upgrade()
    async with fleet_on(tmp_path, database) as made:
        yield made
    await database.aclose()


async def test_a_save_that_arrives_late_does_not_undo_a_newer_one(fleet: Fleet) -> None:
    await fleet.call("SCRIPT", "LOAD", SCRIPTS["save"].source)
    async with LateRelay(fleet.node.address) as relay:
        worker = await fleet.join(redis_host=relay.at.host, redis_port=relay.at.port, redis_read_timeout=READ_TIMEOUT_SECONDS)
        _, value = await worker.sign_in(n=0)
        first = await worker.manager.load(value)
        first["n"] = 1
        relay.holds_back = SCRIPTS["save"].sha1.encode()
        with pytest.raises(StoreUnavailable):
            await worker.manager.save(first)
        second = await worker.manager.load(value)
        second["n"] = 2
        saved = asyncio.create_task(worker.manager.save(second))
        await asyncio.wait([saved], timeout=READ_TIMEOUT_SECONDS / 10)
        relay.passes_on.set()
        await relay.is_passed_on.wait()
        await saved
        assert (await worker.manager.load(value))["n"] == 2


@pytest.mark.virtual_time
@pytest.mark.parametrize(("kind", "waits"), [("connection", True), ("timeout", True), ("readonly", False), ("breaker_open", False)])
async def test_only_a_write_that_may_still_arrive_delays_the_next_one(kind: str, waits: bool) -> None:
    loop = asyncio.get_running_loop()
    writes = UnderWay(READ_TIMEOUT_SECONDS)

    async def fails(*, until: float) -> None:
        assert until > 0
        raise StoreUnavailable(kind=kind)

    async def succeeds(*, until: float) -> float:
        assert until > 0
        return loop.time()

    began = loop.time()
    with pytest.raises(StoreUnavailable):
        await writes.run(REF, fails)
    assert await writes.run(SessionRef("ada", "other"), succeeds) == pytest.approx(began, abs=0.01)
    expected = READ_TIMEOUT_SECONDS + under_way.MARGIN_SECONDS if waits else 0
    assert await writes.run(REF, succeeds) - began == pytest.approx(expected, abs=0.01)
    began = loop.time()
    assert await writes.run(REF, succeeds) == pytest.approx(began, abs=0.01)
