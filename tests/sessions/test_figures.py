"""What is measured beside the requests: the fleet's sessions, the primaries, this process' connections."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.drills import topology
from stateroom.request.housekeeping import TURN_SECONDS, TURNS_PER_COUNT, Housekeeping
from stateroom.request.streams import Streams
from stateroom.sessions.figures import Figures
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.manager import SessionManager
from stateroom.sessions.model.session import Session, record_of
from stateroom.sessions.upkeep import Upkeep
from stateroom.sessions.watch import SessionWatch
from stateroom.sessions.wiring import wire
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers

TURNS_IN_TEN_SECONDS = int(10 / TURN_SECONDS)


@dataclass
class Worker:
    """A process' manager with its turns, which the test takes by hand."""

    manager: SessionManager
    metrics: Metrics
    housekeeping: Housekeeping

    @property
    def active(self) -> float:
        value = self.metrics.registry.get_sample_value("stateroom_sessions_active")
        assert value is not None
        return value

    async def sign_in(self, user: int) -> Session:
        return await self.manager.create(user)


def worker(settings: Settings, client: RedisClient) -> Worker:
    metrics = Metrics()
    parts = wire(settings, metrics, client, NoJournal())
    parts.deployment.id = "figures"
    streams = Streams(SessionWatch(parts), parts.clock)
    return Worker(SessionManager(parts), metrics, Housekeeping(Upkeep(parts), streams, Figures(parts)))


@pytest.fixture
def fleet_settings(servers: Servers) -> Settings:
    return servers.settings("valkey", redis_key_prefix=f"figures-{secrets.token_hex(4)}", session_max_per_user=3)


@pytest.fixture
async def fleet(fleet_settings: Settings) -> AsyncIterator[list[Worker]]:
    """Three workers on one store."""
    clients = [make_client(fleet_settings, metrics=Metrics()) for _ in range(3)]
    for client in clients:
        await client.start()
    yield [worker(fleet_settings, client) for client in clients]
    for client in clients:
        await client.aclose()


async def ten_seconds(fleet: list[Worker]) -> None:
    """The turns that all take in this time, one after the other."""
    for _ in range(TURNS_IN_TEN_SECONDS):
        for each in fleet:
            await each.housekeeping.turn()


async def test_every_worker_tells_the_same_number_after_whatever_happened(fleet: list[Worker]) -> None:
    one, two, _ = fleet
    sessions = [await one.sign_in(user) for user in range(1, 6)]
    await ten_seconds(fleet)
    assert [each.active for each in fleet] == [5, 5, 5]

    await two.manager.end(sessions[0])
    assert await two.manager.revoke(2, record_of(sessions[1]).ref.handle)
    await ten_seconds(fleet)
    assert [each.active for each in fleet] == [3, 3, 3]

    for _ in range(4):  # one more than a user may have
        await two.sign_in(9)
    await ten_seconds(fleet)
    assert [each.active for each in fleet] == [6, 6, 6]


async def test_a_session_that_expires_is_not_counted_any_more(fleet: list[Worker], fleet_settings: Settings) -> None:
    one = fleet[0]
    session = await one.sign_in(1)
    await ten_seconds([one])
    assert one.active == 1
    one.manager._parts.clock.skew_ms += (fleet_settings.session_max_age + 1) * 1000
    assert not await one.manager._parts.store.exists(record_of(session).ref)
    await ten_seconds([one])
    assert one.active == 0


async def test_one_worker_of_the_fleet_counts(fleet: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    for number, each in enumerate(fleet):
        real = each.manager._parts.store.count_active

        async def count(number: int = number, real: object = real) -> int:
            counted.append(number)
            return await real()  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(each.manager._parts.store, "count_active", count)
    await ten_seconds(fleet)
    assert set(counted) == {0}
    assert len(counted) == -(-TURNS_IN_TEN_SECONDS // TURNS_PER_COUNT)


async def test_what_is_not_known_is_no_number(fleet: list[Worker]) -> None:
    one, two, _ = fleet
    await one.sign_in(1)
    await ten_seconds(fleet)
    await one.manager._parts.client.aclose()
    await ten_seconds([one])
    assert math.isnan(one.active)
    assert two.active == 1


async def test_the_primaries_tell_of_memory_evictions_and_replicas(
    store_kind: str, client: RedisClient, store_settings: Settings
) -> None:
    one = worker(store_settings, client)
    await one.housekeeping.turn()
    told = {
        name: one.metrics.registry.get_sample_value(f"stateroom_redis_{name}")
        for name in ("evicted_keys", "memory_used_bytes", "memory_max_bytes", "connected_replicas")
    }
    if store_kind == "fakeredis":  # it has no INFO
        assert all(math.isnan(figure or 0) for figure in told.values())
        return
    assert told["evicted_keys"] == told["memory_max_bytes"] == 0
    assert 500_000 < (told["memory_used_bytes"] or 0) < 1_000_000_000
    assert told["connected_replicas"] == {"sentinel": 2, "cluster": 1}.get(store_kind, 0)


async def test_evicted_keys_are_noticed(tmp_path: Path, servers: Servers) -> None:
    async with topology.single(tmp_path / "server") as node:
        settings = servers.settings("valkey", redis_host=node.host, redis_port=node.port)
        client = make_client(settings, metrics=Metrics())
        await client.start()
        one = worker(settings, client)
        await node.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        await node.call("CONFIG", "SET", "maxmemory", "3mb")
        for number in range(100):
            await node.call("SET", f"filling-{number}", "x" * 50_000)
        await one.housekeeping.turn()
        assert (one.metrics.registry.get_sample_value("stateroom_redis_evicted_keys") or 0) > 10
        assert one.metrics.registry.get_sample_value("stateroom_redis_memory_max_bytes") == 3 * 1024 * 1024
        await client.aclose()


async def test_the_shared_connection_and_the_pool_are_measured_when_they_are_read(fleet: list[Worker]) -> None:
    one = fleet[0]
    read = one.metrics.registry.get_sample_value
    assert read("stateroom_redis_pool_connections_max") == 20
    assert read("stateroom_redis_multiplexer_pending") == 0
    asked = [asyncio.ensure_future(one.manager._parts.client.execute("", "PING")) for _ in range(3)]
    await asyncio.sleep(0)
    assert read("stateroom_redis_multiplexer_pending") == 3
    await asyncio.gather(*asked)
    assert read("stateroom_redis_multiplexer_pending") == 0
    assert read("stateroom_store_state", {"state": "settled"}) == 1


async def test_a_step_that_fails_keeps_no_other_from_its_turn_and_is_told_at_the_end(
    fleet: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fleet[0]
    await one.sign_in(1)

    async def fails() -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(one.housekeeping._upkeep, "calibrate", fails)
    with pytest.raises(ExceptionGroup) as caught:
        await one.housekeeping.turn()
    assert [error.__notes__ for error in caught.value.exceptions] == [["step: calibrate"]]
    assert one.active == 1
    monkeypatch.undo()
    await one.housekeeping.turn()
