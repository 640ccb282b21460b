"""A server that reads its data from disk replies LOADING. No reply's error may be left over: asyncio would log each of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import RedisError

from stateroom.app import make_app
from stateroom.backend.client import RedisClient, Script
from stateroom.backend.clients import make_client
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.errors import StoreUnavailable
from stateroom.telemetry.metrics import Metrics
from stateroom.testing import settings

from ..patience import settled
from ..servers import Servers

ONE = Script.of("return 1")
KEYS = 500
DELAY_US = 5000
"""How long the server takes for each key that it loads."""
LONGEST_SECONDS = 60.0
CALLERS = 20
CANCELLED = 0.3
"""This part of the callers gives up."""


async def a_server_that_loads_slowly(node: Node, *, keys: int = KEYS, delay_us: int = DELAY_US) -> asyncio.Task[None]:
    """Restart a server. It replies while it loads. The task ends when it has loaded."""
    await _fill(node, keys)
    await node.call("SAVE")
    await node.kill()
    config = node.folder / "server.conf"
    slowly = f"key-load-delay {delay_us}\nloading-process-events-interval-bytes 1024\nrdbcompression no\n"
    config.write_text(config.read_text(encoding="utf-8") + slowly, encoding="utf-8")
    return asyncio.create_task(node.start())


async def a_running_server_that_loads_slowly(node: Node) -> asyncio.Task[None]:
    """Let a server read its data again. It keeps its connections, and replies LOADING. The task ends when it has loaded."""
    await _fill(node, KEYS)
    await node.call("CONFIG", "SET", "key-load-delay", DELAY_US)
    await node.call("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)

    async def reload() -> None:
        assert node.dialer is not None
        connection = await node.dialer.dial(node.address)
        try:
            await connection.send_command("DEBUG", "RELOAD")
            assert await connection.read_response(timeout=LONGEST_SECONDS) == b"OK"
        finally:
            await connection.disconnect(nowait=True)

    return asyncio.create_task(reload())


async def _fill(node: Node, keys: int) -> None:
    await node.call("EVAL", f"for i = 1, {keys} do redis.call('SET', 'x' .. i, string.rep(i .. 'y', 100)) end", 0)
    await node.call("CONFIG", "SET", "rdbcompression", "no")


async def several(client: RedisClient) -> None:
    await asyncio.gather(*(client.execute("a", "GET", "a") for _ in range(3)))


async def first_of_two(client: RedisClient) -> None:
    """A caller that ends before it awaits its second reply."""
    first, second = client.execute("a", "HGETALL", "a"), client.execute("a", "GET", "a")
    await first
    await second


async def script(client: RedisClient) -> None:
    await client.run(ONE, ["a"])


async def pipeline(client: RedisClient) -> None:
    await client.pipeline("a", [("GET", "a")])


STEPS = (several, first_of_two, script, pipeline)


@pytest.mark.parametrize("cache", [0.0, 30.0])
async def test_no_error_is_left_over_while_a_server_loads(tmp_path: Path, cache: float) -> None:
    left: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context))
    outcomes: Counter[str] = Counter()
    chance = random.Random(39)

    async def call(client: RedisClient) -> None:
        try:
            await chance.choice(STEPS)(client)
            outcomes["good"] += 1
        except StoreUnavailable as fault:
            outcomes["loading" if "loading" in fault.detail else "other"] += 1

    async with topology.single(tmp_path / "node", lines=["enable-debug-command yes"]) as node:
        client = make_client(settings(redis_host=node.host, redis_port=node.port, session_cache_max_age=cache), metrics=Metrics())
        await client.start()
        try:
            loaded = await a_running_server_that_loads_slowly(node)
            while not loaded.done():
                callers = [asyncio.create_task(call(client)) for _ in range(CALLERS)]
                await asyncio.sleep(chance.random() * 0.02)
                for caller in callers:
                    if chance.random() < CANCELLED:
                        caller.cancel()
                await asyncio.wait(callers)
                gc.collect()
            await loaded

            async def is_good() -> bool:
                await call(client)
                return outcomes["good"] > 0

            await until(is_good, "the client has connected again")
        finally:
            await client.aclose()
    gc.collect()
    assert outcomes["loading"] > 0
    assert [context["message"] for context in left] == []


async def is_loading(node: Node) -> bool:
    with contextlib.suppress(RedisError, OSError):
        return b"loading:1" in await node.call("INFO", "persistence")
    return False  # it does not listen yet


async def test_a_worker_that_starts_while_a_server_loads_works_once_it_has_loaded(tmp_path: Path, servers: Servers) -> None:
    async with topology.single(tmp_path / "node") as node:
        loaded = await a_server_that_loads_slowly(node, keys=1200, delay_us=20_000)
        await until(lambda: is_loading(node), "the server loads")
        app = make_app(servers.service_settings(tmp_path, redis_host=node.host, redis_port=node.port))
        async with TestClient(TestServer(app)) as client:
            status, body = await register(client, "ada")
            assert await is_loading(node)
            assert (status, body["degraded"]) == (201, True)
            await node.call("CONFIG", "SET", "key-load-delay", 0)
            await loaded
            await settled(app)
            async with client.get("/api/auth/check") as response:
                assert (await response.json())["authenticated"]
            status, body = await register(client, "bob")
            assert (status, body.get("degraded")) == (201, None)


async def register(client: TestClient[Any, Any], name: str) -> tuple[int, dict[str, Any]]:
    user = {"email": f"{name}@example.com", "password": "correct horse", "name": name}
    async with client.post("/api/auth/register", json=user) as response:
        return response.status, await response.json()
