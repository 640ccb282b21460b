"""Records what the release before format 2 sealed and stored, as the fixture of `test_format_1.py`.

Run it with that release's sources, in this folder:

    git worktree add /tmp/before c4c4728
    PYTHONPATH=/tmp/before/src python record.py > format_1.json

Times in the fixture are those of the recording. The test sets the service's clock back to it.
Bytes of Redis are written as Latin-1.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from aiohttp import web

import stateroom
from stateroom.drills import topology
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

PREFIX, NAME = "session", "session_id"


async def record(folder: Path) -> dict[str, Any]:
    key = new_key()
    async with topology.single(folder / "valkey") as node:
        settings = Settings(
            _env_file=None, cookie_keys=key, cookie_secure=False, session_name=NAME, redis_key_prefix=PREFIX,
            redis_host=node.host, redis_port=node.port, database_url=f"sqlite:///{folder}/users.db", state_dir=folder,
            session_max_age="12h",
        )  # fmt: skip
        app = web.Application()
        stateroom.setup(app, settings)
        runner = web.AppRunner(app)
        await runner.setup()
        manager = app[stateroom.SESSIONS]
        notes = {"ip_address": "192.0.2.1", "user_agent": "Recorder"}
        made = {
            "number": await manager.create(1, data={"cart": [1, 2]}, metadata=notes),
            "text": await manager.create("ada", data={}, metadata=notes),
            "remembered": await manager.create(2, data={}, metadata=notes, remember=True),
            "anonymous": await manager.create(None, data={"cart": [3]}),
            "lost": await manager.create(3, data={}, metadata=notes),
            "ended": await manager.create(4, data={}, metadata=notes),
        }
        values = {name: manager.seal(session) for name, session in made.items()}
        await manager.end(made["ended"])
        hashes = {}
        with redis.Redis(host=node.host, port=node.port, decode_responses=True, encoding="latin-1") as client:
            for each in client.scan_iter(f"{PREFIX}:*"):
                if client.type(each) == "hash" and client.hexists(each, "v"):  # a session
                    hashes[each] = client.hgetall(each)
        await runner.cleanup()
    lost = made["lost"].id
    return {
        "release": stateroom.__version__,
        "recorded_ms": time.time_ns() // 1_000_000,
        "cookie_key": key,
        "session_name": NAME,
        "key_prefix": PREFIX,
        "users": {"number": 1, "text": "ada", "remembered": 2, "anonymous": None, "lost": 3, "ended": 4},
        "values": values,
        "hashes": {name: fields for name, fields in hashes.items() if lost not in name},
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        json.dump(asyncio.run(record(Path(folder))), sys.stdout, indent=1, sort_keys=True)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
