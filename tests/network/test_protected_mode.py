"""A server in protected mode refuses every host but its own. Once an administrator ends this, a running service finds it."""

from __future__ import annotations

from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from stateroom import SESSIONS
from stateroom.app import make_app
from stateroom.drills import topology

from ..doctor.agreement.parts import own_address
from ..logs import capture_events
from ..patience import settled
from ..servers import Servers


async def test_the_service_works_once_protected_mode_is_off(tmp_path: Path, servers: Servers) -> None:
    address = own_address()
    async with topology.single(tmp_path / "node", options={"protected-mode": "yes", "bind": "0.0.0.0"}) as node:
        app = make_app(servers.service_settings(tmp_path, redis_host=address, redis_port=node.port))
        with capture_events() as events:
            async with TestClient(TestServer(app)) as client:
                assert app[SESSIONS].store_state() == "away"
                [at_start] = [event for event in events if event["event"] == "redis_away_at_start"]
                assert "protected mode" in at_start["reason"]
                await node.call("CONFIG", "SET", "protected-mode", "no")
                await settled(app)
                async with client.get("/api/health") as response:
                    assert response.status == 200
