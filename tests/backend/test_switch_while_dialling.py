"""The Sentinels name another primary while a connection is made: no connection to the old one is used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from stateroom.backend.client import Script
from stateroom.backend.info import run_id_of
from stateroom.backend.sentinel_client import SentinelClient
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Address, Settings
from stateroom.telemetry.metrics import Metrics

LEASE_SECONDS = 60.0
WRITE = Script.of("return redis.call('SET', KEYS[1], ARGV[1])")


class Watch:
    """Names the primary that the test wants."""

    rebuilt = None
    sentinels = ()
    believed_until = 0.0

    def __init__(self, primary: Address) -> None:
        self.primary = primary

    async def locate(self) -> Address:
        return self.primary

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Following:
    """A client of `a`, and what follows when the Sentinels name `b`. `at_info`: called once, when the next INFO has its reply."""

    def __init__(self, a: Node, b: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(
            _env_file=None,
            cookie_keys=new_key(),
            database_url="none",
            redis_sentinels="127.0.0.1:1",
            redis_read_timeout=4,
            redis_min_idle=0,
        )
        self.a, self.b = a, b
        self.client = SentinelClient(settings, Metrics())
        self.watch: Any = Watch(a.address)
        client: Any = self.client
        client.watcher = self.watch
        self.may_run_info = True
        self.at_info: Callable[[], None] | None = None

        async def then_switch(connection: AbstractConnection) -> str:
            run_id = await run_id_of(connection)
            if (do := self.at_info) is not None:
                self.at_info = None
                asyncio.get_running_loop().call_soon(do)  # Another task does it.
                await asyncio.sleep(0)
            return run_id if self.may_run_info else ""

        monkeypatch.setattr("stateroom.backend.shared.run_id_of", then_switch)

    def switch(self) -> None:
        self.watch.primary = self.b.address
        self.client._switch(self.b.address)

    def vouch(self) -> None:
        """A majority has named the primary for a lease."""
        self.watch.believed_until = time.monotonic() + LEASE_SECONDS
        self.client._extend_belief()

    async def reads(self) -> bytes:
        return bytes(await self.client.execute("who", "GET", "who"))


@pytest.fixture
async def following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    async with topology.single(tmp_path / "a") as a, topology.single(tmp_path / "b") as b:
        await a.call("SET", "who", "a")
        await b.call("SET", "who", "b")
        made = Following(a, b, monkeypatch)
        try:
            yield made
        finally:
            await made.client.aclose()


@pytest.mark.parametrize("may_run_info", [True, False])
async def test_the_connection_for_reads_leads_to_the_new_primary(following: Following, *, may_run_info: bool) -> None:
    following.may_run_info = may_run_info
    following.at_info = following.switch
    await following.client.start()
    following.vouch()
    assert await following.reads() == b"b"
    assert following.client.standing("").is_believed


async def test_a_new_primary_that_hangs_does_not_leave_the_worker_on_the_old_one(following: Following) -> None:
    following.client._shared.reads._connect_timeout = 1.0

    def switch() -> None:
        following.b.pause()
        following.switch()

    following.at_info = switch
    try:
        await following.client.start()
        following.vouch()
        assert not following.client.standing("").is_believed
        with pytest.raises(StoreUnavailable):
            await following.reads()
    finally:
        following.b.resume()

    async def is_there() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return await following.reads() == b"b"
        return False

    await until(is_there, "the client is connected to the new primary")


async def test_the_connection_for_writes_leads_to_the_new_primary(following: Following) -> None:
    await following.client.start()
    following.client._shared._writes.drop(StoreUnavailable("lost"))
    following.at_info = following.switch
    await following.client.run(WRITE, ["k"], ["written"])
    assert await following.b.call("GET", "k") == b"written"
    assert await following.a.call("GET", "k") is None
    assert following.client.is_available


async def test_the_sentinels_vouch_only_for_the_server_that_they_name(following: Following) -> None:
    await following.client.start()
    following.vouch()
    assert following.client.standing("").is_believed
    following.watch.primary = following.b.address  # As if no switch were told.
    following.vouch()
    assert not following.client.standing("").is_believed


@pytest.mark.parametrize("may_run_info", [True, False])
async def test_a_pooled_connection_leads_to_the_new_primary(following: Following, *, may_run_info: bool) -> None:
    following.may_run_info = may_run_info
    await following.client.start()
    following.at_info = following.switch
    assert await following.client.pipeline("k", [("SET", "k", "written")]) == [b"OK"]
    assert await following.client.pipeline("k", [("GET", "k")]) == [b"written"]
    assert await following.b.call("GET", "k") == b"written"
    assert await following.a.call("GET", "k") is None
