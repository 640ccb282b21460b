"""Connections to Redis with what redis-py has no setting for. `tests/backend/test_clients.py` tests TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio.connection import Connection

from stateroom.backend.dial import Dialer
from stateroom.drills import topology
from stateroom.insides.of_redis import connect_from


async def test_a_connection_comes_from_the_address_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_connection_arguments", Connection._connection_arguments)  # is put back afterwards
    connect_from("127.0.0.2")
    async with topology.single(tmp_path / "server") as server:
        connection = await Dialer(2, 2).dial(server.address)
        await connection.send_command("CLIENT", "INFO")
        assert b" addr=127.0.0.2:" in await connection.read_response()
        await connection.disconnect()
