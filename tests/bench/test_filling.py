"""A server that is filled for a measurement has what the service would have stored."""

from __future__ import annotations

from pathlib import Path

import redis

from bench.filling import check_form, fill, stateroom_sessions
from stateroom import Settings
from stateroom.drills import topology
from stateroom.sessions.sealing.key_ring import new_key

SESSIONS = 1000


async def test_filled_sessions_have_the_form_of_made_ones(tmp_path: Path) -> None:
    async with topology.single(tmp_path) as node:
        settings = Settings(redis_port=node.port, cookie_keys=new_key(), database_url="none")
        with redis.Redis(port=node.port) as server:
            sample = fill(server, SESSIONS, stateroom_sessions(server))
            assert sample
            await check_form(server, settings, sample)
            assert sum(1 for _ in server.scan_iter("*", count=1000, _type="hash")) == SESSIONS
