"""A server that reads its data from disk is not connected: one outage, one line in the log, no connection until it has loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stateroom.backend.client import RedisClient
from stateroom.backend.clients import make_client
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import StoreUnavailable
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ..conftest import require_tool
from ..logs import capture_events
from .test_clients import tls_dialer, tls_files  # noqa: F401 (a fixture)
from .test_loading import a_running_server_that_loads_slowly, a_server_that_loads_slowly

DEBUG = "enable-debug-command yes"
FIX = "wait until it has loaded; the service connects by itself"


@contextlib.asynccontextmanager
async def server_of(kind: str, folder: Path, files: dict[str, Path]) -> AsyncIterator[tuple[Node, dict[str, Any]]]:
    """A server that holds sessions, and the settings that lead to it."""
    match kind:
        case "sentinel":
            async with topology.sentinels(folder, replicas=0, watchers=1, server_lines=[DEBUG], down_after_ms=60_000) as setup:
                yield setup.nodes[0], {"redis_sentinels": str(setup.sentinels[0].address)}
        case "cluster":
            async with topology.single(folder, options=topology.cluster_options(), lines=[DEBUG]) as node:
                await node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

                async def is_ok() -> bool:
                    return b"cluster_state:ok" in await node.call("CLUSTER", "INFO")

                await until(is_ok, "the Cluster has all slots")
                yield node, {"redis_cluster_nodes": str(node.address)}
        case "tls":
            binary, dialer = require_tool("redis-server"), tls_dialer(files)
            async with topology.single(folder, binary=binary, tls_files=files, dialer=dialer, lines=[DEBUG]) as node:
                tls = {"redis_tls_ca": files["ca"], "redis_tls_server_name": "redis.example.com"}
                yield node, {"redis_url": f"rediss://{node.address}", **tls}
        case _:
            async with topology.single(folder, lines=[DEBUG]) as node:
                yield node, {"redis_host": node.host, "redis_port": node.port, "session_cache_max_age": 5.0 * (kind == "resp3")}


async def is_connected(client: RedisClient) -> bool:
    with contextlib.suppress(StoreUnavailable):
        await client.execute("k", "GET", "k")
    return client.standing("k").is_connected


@pytest.mark.parametrize("kind", ["resp2", "resp3", "tls", "sentinel", "cluster"])
async def test_a_server_that_begins_to_load_is_one_outage(tmp_path: Path, kind: str, tls_files: dict[str, Path]) -> None:  # noqa: F811
    async with server_of(kind, tmp_path / "node", tls_files) as (node, where):
        metrics = Metrics()
        client = make_client(Settings(_env_file=None, cookie_keys=new_key(), database_url="none", **where), metrics=metrics)
        await client.start()
        try:
            assert await is_connected(client)
            with capture_events() as events:
                loaded = await a_running_server_that_loads_slowly(node)

                async def is_told() -> bool:
                    await is_connected(client)
                    return any(event["event"] == "redis_circuit_opened" for event in events)

                await until(is_told, "the outage is logged")
                seen = []
                while not loaded.done():
                    seen.append((await is_connected(client), loaded.done()))
                    await asyncio.wait([loaded], timeout=0.01)
                await loaded

                async def is_back() -> bool:
                    return await is_connected(client)

                await until(is_back, "the client has connected again")
        finally:
            await client.aclose()
    assert len(seen) > 10
    assert not any(was_connected for was_connected, was_loaded in seen if not was_loaded)
    told = [event for event in events if event["event"].startswith("redis_circuit")]
    assert [event["event"] for event in told] == ["redis_circuit_opened", "redis_circuit_closed"]
    assert told[0]["reason"].endswith("is loading the dataset in memory")
    assert told[0]["fix"] == FIX
    assert metrics.registry.get_sample_value("stateroom_redis_errors_total", {"kind": "connection"})


async def test_a_user_without_the_right_to_info_learns_of_it_too(tmp_path: Path) -> None:
    async with topology.single(tmp_path / "node") as node:
        await node.call("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-info")
        config = node.folder / "server.conf"
        rules = "user app on >secret ~* &* +@all -info\n"
        config.write_text(config.read_text(encoding="utf-8") + rules, encoding="utf-8")
        made = settings(redis_host=node.host, redis_port=node.port, redis_username="app", redis_password="secret")
        client = make_client(made, metrics=Metrics())
        await client.start()
        try:
            with capture_events() as events:
                loaded = await a_server_that_loads_slowly(node)
                while not loaded.done():
                    with contextlib.suppress(StoreUnavailable):
                        await client.execute("k", "GET", "k")
                    await asyncio.wait([loaded], timeout=0.01)
                await loaded
        finally:
            await client.aclose()
    opened = [event for event in events if event["event"] == "redis_circuit_opened"]
    assert len(opened) == 1


@pytest.mark.parametrize("cache", [0.0, 5.0])
async def test_startup_and_the_outage_name_the_same_fix(tmp_path: Path, cache: float) -> None:
    async with topology.single(tmp_path / "node") as node:
        loaded = await a_server_that_loads_slowly(node)

        async def is_loading() -> bool:
            with contextlib.suppress(Exception):
                return b"loading:1" in await node.call("INFO", "persistence")
            return False

        await until(is_loading, "the server loads")
        client = make_client(settings(redis_host=node.host, redis_port=node.port, session_cache_max_age=cache), metrics=Metrics())
        with capture_events() as events:
            await client.start()
            await client.aclose()
        await loaded
    fixes = {event["event"]: event["fix"] for event in events if "fix" in event}
    assert fixes == {"redis_away_at_start": FIX, "redis_circuit_opened": FIX}
