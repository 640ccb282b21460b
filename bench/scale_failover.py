"""`python -m bench.scale_failover --sessions 1000000`: kills a primary with that many sessions.

There are a primary, two replicas and three Sentinels. Many sessions are checked in turn all the time. Prints the times
until a replica is promoted and until the service reports the store as settled, the answers to the checks, and whether every
session is still stored afterwards. Writes `bench/results/scale_failover.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError

from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.topology import SentinelSetup
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames

from .filling import fill, stateroom_sessions
from .scale import HERE, sealed, serving, settings_for

CHECK_EVERY_SECONDS = 0.01


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.scale_failover", description=__doc__)
    arguments.add_argument("--sessions", type=int, default=1_000_000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(measure(Path(folder), options.sessions))
    for name, figure in results.items():
        print(f"{name}: {figure}")
    folder_of_results = HERE / "results"
    folder_of_results.mkdir(exist_ok=True)
    (folder_of_results / "scale_failover.json").write_text(json.dumps(results, indent=2))


async def measure(folder: Path, count: int, filled_all: Callable[[], None] | None = None) -> dict[str, Any]:
    """Fill the primary and measure. `filled_all` is called between the two."""
    key = new_key()
    async with topology.sentinels(folder / "servers") as setup:
        with redis.Redis(port=setup.primary.port) as server:
            sample = await asyncio.to_thread(fill, server, count, stateroom_sessions(server))
            assert await asyncio.to_thread(server.execute_command, "WAIT", 2, 60_000) == 2
        if filled_all is not None:
            filled_all()
        cookies = sealed(settings_for(key), sample)
        sentinels = ",".join(str(each.address) for each in setup.sentinels)
        with serving(folder, key, REDIS_SENTINELS=sentinels, DATABASE_URL=f"sqlite:///{folder}/users.db") as (port, _):
            await until(lambda: is_settled(port), "the service finds the store settled")
            asking = asyncio.create_task(ask(port, cookies))
            await asyncio.sleep(1)
            await setup.primary.kill()
            killed_at = time.monotonic()
            promoted = await first_primary(setup)
            promoted_at = time.monotonic()
            await until(lambda: is_settled(port), "the service finds the store settled")
            settled_at = time.monotonic()
            await asyncio.sleep(1)
            asking.cancel()
            seen, slowest = await asking
            stored = await counted(promoted)
            after = Counter([await check(port, cookie) for cookie in cookies])
    return {
        "sessions": count,
        "promoted_after_seconds": promoted_at - killed_at,
        "settled_after_seconds": settled_at - killed_at,
        "checks": dict(seen),
        "slowest_check_seconds": slowest,
        "sessions_after": stored,
        "sample_after": dict(after),
    }


async def first_primary(setup: SentinelSetup) -> Node:
    """Wait for the promotion. Returns the promoted replica."""
    found: list[Node] = []

    async def is_found() -> bool:
        found.extend([node for node in setup.nodes[1:] if await setup.role(node) == "master"])
        return bool(found)

    await until(is_found, "a replica is promoted")
    return found[0]


async def ask(port: int, cookies: list[str]) -> tuple[Counter[str], float]:
    """Send check after check until cancelled. Counts the answers, and keeps the longest time in seconds."""
    seen: Counter[str] = Counter()
    slowest = 0.0
    try:
        for cookie in itertools.cycle(cookies):
            began = time.monotonic()
            seen[await check(port, cookie)] += 1
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(CHECK_EVERY_SECONDS)
    except asyncio.CancelledError:
        return seen, slowest
    raise AssertionError("unreachable")


async def check(port: int, cookie: str) -> str:
    def answer() -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/auth/check", headers={"Cookie": cookie})
        try:
            with urllib.request.urlopen(request) as response:
                body = json.loads(response.read())
        except OSError as error:
            return f"failed: {error}"
        if not body["authenticated"]:
            return "signed out"
        return "degraded" if body["degraded"] else "good"

    return await asyncio.to_thread(answer)


async def is_settled(port: int) -> bool:
    def state() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            return 'stateroom_store_state{state="settled"} 1.0' in response.read().decode()

    return await asyncio.to_thread(state)


async def counted(node: Node) -> int:
    """How many sessions in this server's indexes have a hash."""
    keys = KeyNames("session")

    def count() -> int:
        with redis.Redis(port=node.port) as server:
            total = 0
            for index in keys.expiries:
                with server.pipeline(transaction=False) as pipeline:
                    for member in server.zrange(index, 0, -1):  # type: ignore[union-attr]
                        pipeline.exists(f"{index[:-1]}s:{member.split(b':', 1)[0].decode()}")
                    total += sum(pipeline.execute())
            return total

    try:
        return await asyncio.to_thread(count)
    except RedisError as error:
        raise AssertionError(f"{node.address} does not tell: {error}") from error


if __name__ == "__main__":
    main()
