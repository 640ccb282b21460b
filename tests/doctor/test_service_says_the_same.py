"""Servers that load, are full of clients, lack HELLO or name no endpoints: the doctor names the cause, and so does the service."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from stateroom.backend.clients import make_client
from stateroom.backend.dial import Dialer
from stateroom.doctor.findings import Finding, Level
from stateroom.drills import topology
from stateroom.drills.node import until
from stateroom.drills.topology import SERVICE_NAME
from stateroom.errors import StoreUnavailable
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics

from ..backend.test_loading import a_server_that_loads_slowly
from ..delays import DelayingRelay
from ..logs import capture_events
from ..servers import Servers
from .conftest import found, patient, paused

TOO_MANY = "it has as many clients as maxclients allows, and refuses this one"
EXPECTED = {"aof-off", "no-journal"}
"""Findings that every server of these tests has."""


async def odd(made: Settings) -> list[Finding]:
    return [each for each in await found(made) if each.check not in EXPECTED]


async def told_at_start(made: Settings) -> str:
    """The fix that the service logs if it starts now."""
    client = make_client(made, metrics=Metrics())
    with capture_events() as events:
        await client.start()
        await client.aclose()
    [fix] = [event["fix"] for event in events if event["event"] == "redis_away_at_start"]
    return str(fix)


@pytest.mark.parametrize("cache", [0.0, 30.0])
async def test_a_server_that_loads_is_told_as_that(tmp_path: Path, cache: float) -> None:
    async with topology.single(tmp_path / "node") as node:
        made = patient(redis_host=node.host, redis_port=node.port, session_cache_max_age=cache)
        loaded = await a_server_that_loads_slowly(node)
        said: list[Finding] = []
        while not said and not loaded.done():  # At first nothing listens.
            said = [each for each in await found(made) if each.check == "loading"]
        [finding] = said
        assert (finding.level, finding.where) == (Level.FAULT, f"Server {node.address}")
        assert "loading its data from disk" in finding.what
        assert "the service connects by itself" in finding.fix
        await loaded
        assert "loading" not in {each.check for each in await found(made)}


async def test_a_server_with_as_many_clients_as_it_allows_is_told_as_that(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        made = patient(redis_host=node.host, redis_port=node.port, redis_min_idle=0)
        client = make_client(made, metrics=Metrics())
        await client.start()
        try:

            async def are_both_there() -> bool:
                return int((await node.call("INFO", "clients")).partition(b"connected_clients:")[2].split()[0]) >= 3

            await until(are_both_there, "the service has both shared connections")
            await node.call("CONFIG", "SET", "maxclients", "2")
            [finding] = await odd(made)
            assert (finding.check, finding.level, finding.what) == ("server-unreachable", Level.FAULT, TOO_MANY)
            with capture_events() as events, pytest.raises(StoreUnavailable):
                await client.pipeline("k", [("PING",)])
            [line] = [event for event in events if event["event"] == "redis_connection_refused"]
            assert line["fix"].startswith(f"{finding.fix}; ")
            assert finding.fix in await told_at_start(made)
        finally:
            await client.aclose()


async def test_a_sentinel_with_as_many_clients_as_it_allows_is_told_as_that(tmp_path: Path) -> None:
    """REDIS_POOL_SIZE does not matter to Sentinels."""
    line = f"sentinel monitor {SERVICE_NAME} 127.0.0.1 1 1"
    async with topology.single(tmp_path / "sentinel", is_sentinel=True, lines=[line, "maxclients 1"]) as sentinel:
        made = patient(redis_sentinels=str(sentinel.address))
        _, writer = await asyncio.open_connection(sentinel.host, sentinel.port)
        try:
            [first, second] = await odd(made)
            assert (first.check, first.what) == ("sentinel-unreachable", TOO_MANY)
            assert second.check == "no-sentinel"
            assert first.fix == "raise `maxclients` of the Sentinel; CLIENT LIST shows which clients have the connections"
            assert first.fix in await told_at_start(made)
        finally:
            writer.close()


async def test_a_near_cache_that_is_off_is_a_warning(tmp_path: Path) -> None:
    dialer = Dialer(2, 5, protocol=2)
    async with topology.single(tmp_path / "node", lines=['rename-command HELLO ""'], dialer=dialer) as node:
        at = {"redis_host": node.host, "redis_port": node.port}
        [finding] = await odd(patient(**at, session_cache_max_age=5))
        assert (finding.check, finding.level) == ("rights", Level.WARNING)
        assert "it does not have HELLO, so the near cache is off" in finding.what
        client = make_client(patient(**at, session_cache_max_age=5), metrics=Metrics())
        with capture_events() as events:
            await client.start()
            await client.aclose()
        [fix] = [event["fix"] for event in events if event["event"] == "near_cache_off"]
        for words in ("HELLO", "or unset SESSION_CACHE_MAX_AGE"):
            assert words in finding.fix
            assert words in fix
        assert await odd(patient(**at)) == []  # Without a near cache nobody needs HELLO.


async def test_nodes_that_name_no_endpoints_are_no_fault(tmp_path: Path) -> None:
    """An empty host means the host that was asked: the service reaches every slot, and the doctor every server."""
    async with topology.cluster(tmp_path) as nodes:
        for node in nodes:
            await node.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
        made = patient(redis_cluster_nodes=",".join(str(node.address) for node in nodes[:2]))

        assert {each.check for each in await odd(made)} <= {"no-replica"}
        client = make_client(made, metrics=Metrics())
        await client.start()
        try:
            assert len(client.shards()) == 3
            for shard in client.shards():
                key = f"{{{shard}}}"
                assert await client.execute(key, "SET", key, "1") == b"OK"
        finally:
            await client.aclose()


@pytest.mark.parametrize("mode", ["single", "sentinel"])
async def test_a_server_that_is_too_far_away_for_the_time_outs_gets_values_that_fit(mode: str, servers: Servers) -> None:
    """With the default time-outs, as somebody who has not heard of them."""
    targets = [servers.valkey] if mode == "single" else servers.sentinel.sentinels
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(DelayingRelay(target.address, 0.6)) for target in targets]
        at = ", ".join(str(relay.at) for relay in relays)
        given: dict[str, Any] = {"redis_url": f"redis://{at}"} if mode == "single" else {"redis_sentinels": at}
        default: dict[str, Any] = {"redis_dial_timeout": 0.5, "redis_read_timeout": 0.5}
        check = "server-unreachable" if mode == "single" else "sentinel-unreachable"

        unreached = [each for each in await odd(patient(**given, **default)) if each.check == check]
        assert len(unreached) == len(targets)
        assert "it answers too late" in unreached[0].what
        values = re.search(r"set REDIS_DIAL_TIMEOUT=([\d.]+) and REDIS_READ_TIMEOUT=([\d.]+) ", unreached[0].fix)
        assert values is not None, unreached[0].fix
        assert "set REDIS_DIAL_TIMEOUT=" in await told_at_start(patient(**given, **default))

        fitting = patient(**given, redis_dial_timeout=values[1], redis_read_timeout=values[2])
        assert not {"server-unreachable", "sentinel-unreachable"} & {each.check for each in await odd(fitting)}
        client = make_client(fitting, metrics=Metrics())
        with capture_events() as events:
            await client.start()
            await client.aclose()
        assert "redis_away_at_start" not in {event["event"] for event in events}


async def test_a_server_that_hangs_gets_no_values(servers: Servers) -> None:
    node = servers.valkey
    made = patient(redis_host=node.host, redis_port=node.port, redis_dial_timeout=0.5, redis_read_timeout=0.5)
    with paused(node):
        [finding] = await odd(made)
    assert (finding.check, "REDIS_DIAL_TIMEOUT" in finding.fix) == ("server-unreachable", False)
    assert "does not hang" in finding.fix
