"""`python -m bench.memory`: measures how many bytes a session takes in Redis, also in the form of other libraries.

The session is of a signed-in user, with times, address, user agent and device. Bytes per session are the growth of
`used_memory` of a new server, divided by the number of sessions, so they include every key and index. The parts are
`MEMORY USAGE` of each kind of key. The rest is the server's own tables. Writes `bench/results/memory.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis

from stateroom import Settings
from stateroom.drills import topology
from stateroom.drills.node import server_binary
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.store.key_names import KeyNames

from .filling import IDLE_SECONDS, Visitor, Write, check_form, fill, stateroom_sessions

HERE = Path(__file__).parent
PARTS_SAMPLED = 500


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    arguments.add_argument("--sessions", type=int, default=10_000)
    options = arguments.parse_args()
    found = {"Valkey": server_binary(), "Redis": shutil.which("redis-server")}
    results = {name: asyncio.run(measure(binary, options.sessions)) for name, binary in found.items() if binary is not None}
    for name, row in results.items():
        peer = row["connect-redis"]
        print(f"\n{name}, {options.sessions:,} sessions: bytes per session")
        for what, size in row.items():
            print(f"  {what:32} {size:8.0f}" + (f"  {size / peer:.2f} x connect-redis" if not what.startswith(" ") else ""))
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "memory.json").write_text(json.dumps({"sessions": options.sessions, "bytes": results}, indent=2))


async def measure(binary: str, count: int) -> dict[str, float]:
    """Bytes per session, by form. Each form has its own server."""
    row: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("aiohttp-session", as_aiohttp_session), ("connect-redis", as_connect_redis)):
            async with topology.single(Path(folder) / name, binary=binary) as node:
                with redis.Redis(port=node.port, single_connection_client=True) as server:
                    row[name], _ = _taken(server, count, write)
        async with topology.single(Path(folder) / "stateroom", binary=binary) as node:
            with redis.Redis(port=node.port, single_connection_client=True) as server:
                row["Stateroom"], sample = _taken(server, count, stateroom_sessions(server))
                row |= _parts(server, sample, count, row["Stateroom"])
                settings = Settings(_env_file=None, redis_port=node.port, cookie_keys=new_key(), database_url="none")
                await check_form(server, settings, sample)
    return row


def _taken(server: redis.Redis, count: int, write: Write) -> tuple[float, list[Visitor]]:
    before = _used(server)
    sample = fill(server, count, write)
    return (_used(server) - before) / count, sample


def _used(server: redis.Redis) -> int:
    """`used_memory`, after the server has rehashed its tables and freed its buffers."""
    last = 0
    for _ in range(100):
        time.sleep(0.5)
        now = int(server.info("memory")["used_memory"])  # type: ignore[index]
        if abs(now - last) < 1024:
            break
        last = now
    return now


def _parts(server: redis.Redis, sample: Iterable[Visitor], count: int, whole: float) -> dict[str, float]:
    keys = KeyNames("session")
    some = [keys.of_session(each.at.user, each.at.handle) for each in sample][:PARTS_SAMPLED]
    hashes, users = ([server.memory_usage(each[part]) or 0 for each in some] for part in (0, 2))
    index = sum(server.memory_usage(key, samples=0) or 0 for key in keys.expiries) / count
    parts = {"  the session's hash": statistics.mean(hashes), "  its user's index": statistics.mean(users)}
    parts["  its place in the expiry index"] = index
    return {**parts, "  the server's tables": whole - sum(parts.values())}


def as_connect_redis(pipeline: redis.client.Pipeline, visitor: Visitor) -> None:
    """connect-redis 9.0.0 with express-session 1.19.0. Key: `sess:` and 24 random bytes. Values have the cookie options."""
    now = datetime.now(UTC)
    expires = (now + timedelta(seconds=IDLE_SECONDS)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    cookie = {
        "originalMaxAge": IDLE_SECONDS * 1000, "expires": expires, "secure": False, "httpOnly": True, "path": "/",
        "sameSite": "strict",
    }  # fmt: skip
    value = json.dumps({"cookie": cookie, **_data(visitor, now, "created_at")}, separators=(",", ":"))
    name = base64.urlsafe_b64encode(secrets.token_bytes(24)).decode()
    pipeline.set(f"sess:{name}", value, ex=IDLE_SECONDS)


def as_aiohttp_session(pipeline: redis.client.Pipeline, visitor: Visitor) -> None:
    """The form of aiohttp-session 2.12's RedisStorage. Key: the cookie's name and a UUID. Value: JSON of `created` and the data."""
    now = datetime.now(UTC)
    value = json.dumps({"created": int(now.timestamp()), "session": _data(visitor, now)})
    pipeline.set(f"AIOHTTP_SESSION_{random.randbytes(16).hex()}", value, ex=IDLE_SECONDS)


def _data(visitor: Visitor, now: datetime, *more_times: str) -> dict[str, object]:
    """The data that an application must store there to have the facts that Stateroom stores."""
    moment = int(now.timestamp() * 1000)
    times = dict.fromkeys([*more_times, "auth_time", "last_access"], moment)
    return {"user_id": visitor.user_id, **times, **visitor.notes}


if __name__ == "__main__":
    main()
