"""What one account and one address can write in a time is bounded, also while Redis is unavailable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS
from stateroom.app import SESSIONS_OF_A_USER, make_app
from stateroom.drills import topology
from stateroom.drills.node import until
from stateroom.sessions.sealing.token_keys import new_token_key

from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
PASSWORD = {"password": ADA["password"]}


async def started(aiohttp_client: AiohttpClient, settings: Any) -> ServiceClient:
    app = make_app(settings)
    client = await aiohttp_client(app)
    await settled(app)
    assert (await client.post("/api/auth/register", json=ADA)).status == 201
    return client


@pytest.fixture
async def client(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> ServiceClient:
    settings = servers.service_settings(tmp_path, session_changes_per_user=3, jwt_keys=new_token_key())
    return await started(aiohttp_client, settings)


async def asked(client: ServiceClient, method: str, path: str, body: object = None) -> int:
    response = await client.request(method, path, json=body)
    if response.status == 429:
        assert 0 < int(response.headers["Retry-After"]) <= 300
        assert (await response.json())["type"] == "urn:stateroom:problem:too-many-attempts"
    return response.status


@pytest.mark.parametrize(
    ("method", "path", "body", "good"),
    [
        ("POST", "/api/auth/login", ADA, 200),
        ("POST", "/api/auth/token", ADA, 200),
        ("POST", "/api/auth/reauthenticate", PASSWORD, 200),
        ("POST", "/api/auth/password", {"current_password": ADA["password"], "new_password": ADA["password"]}, 200),
        ("DELETE", "/api/sessions", None, 200),
        ("DELETE", f"/api/sessions/{'x' * 22}", None, 404),
    ],
)
async def test_an_account_makes_so_many_changes_in_a_time(
    client: ServiceClient, method: str, path: str, body: object, good: int
) -> None:
    assert [await asked(client, method, path, body) for _ in range(5)] == [good, good, good, 429, 429]
    assert await asked(client, "GET", "/api/auth/check") == 200
    assert await asked(client, "POST", "/api/auth/logout") == 200, "a sign-out is never refused"


async def test_who_holds_only_the_session_cannot_keep_the_owner_from_the_password(client: ServiceClient) -> None:
    assert [await asked(client, "DELETE", "/api/sessions") for _ in range(4)] == [200, 200, 200, 429]
    change = {"current_password": ADA["password"], "new_password": "a better horse"}
    assert await asked(client, "POST", "/api/auth/password", change) == 200


async def test_an_address_makes_so_many_changes_in_a_time(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    client = await started(aiohttp_client, servers.service_settings(tmp_path, session_changes_per_address=3))
    assert await asked(client, "DELETE", "/api/sessions") == 200
    assert await asked(client, "POST", "/api/auth/register", {**ADA, "email": "eve@example.com"}) == 201
    assert await asked(client, "POST", "/api/auth/login", ADA) == 429
    assert await asked(client, "POST", "/api/auth/register", {**ADA, "email": "bob@example.com"}) == 429
    assert await asked(client, "POST", "/api/auth/logout") == 200


async def test_the_limits_hold_while_redis_is_unavailable(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    async with topology.single(tmp_path / "valkey") as node:
        own = {"redis_host": node.host, "redis_port": node.port, "session_changes_per_user": 3}
        client = await started(aiohttp_client, servers.service_settings(tmp_path, **own))
        assert client.app is not None
        sessions = client.app[SESSIONS]
        await node.stop()

        async def is_away() -> bool:
            return sessions.store_state() == "away"

        await until(is_away, "the worker has noticed")
        assert [await asked(client, "POST", "/api/auth/login", ADA) for _ in range(4)] == [200, 200, 200, 429]
        assert [await asked(client, "DELETE", "/api/sessions") for _ in range(4)] == [200, 200, 200, 429]
        assert await asked(client, "POST", "/api/auth/logout") == 200
        await node.start()


async def test_a_user_of_the_service_has_a_hundred_sessions(servers: Servers, tmp_path: Path) -> None:
    assert make_app(servers.service_settings(tmp_path))[SESSIONS].settings.session_max_per_user == SESSIONS_OF_A_USER == 100
    assert make_app(servers.service_settings(tmp_path, session_max_per_user=0))[SESSIONS].settings.session_max_per_user == 0
