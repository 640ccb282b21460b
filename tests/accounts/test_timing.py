"""An unknown user and a wrong password take the same time."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app

from ..servers import Servers

TRIES = 100


async def test_unknown_user_and_wrong_password_take_the_same_time(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    settings = servers.service_settings(tmp_path, bcrypt_rounds=9, login_attempts=10_000)
    app: web.Application = make_app(settings)
    client = await aiohttp_client(app)
    known = {"email": "ada@example.com", "password": "correct horse"}
    async with client.post("/api/auth/register", json=known | {"name": "Ada"}) as response:
        assert response.status == 201

    async def one(email: str) -> float:
        began = time.perf_counter()
        async with client.post("/api/auth/login", json={"email": email, "password": "wrong"}) as response:
            assert response.status == 401
        return time.perf_counter() - began

    unknown, wrong = [], []
    for number in range(TRIES):  # in turn, so that a busy machine is busy for both
        unknown.append(await one(f"nobody{number}@example.com"))
        wrong.append(await one("ada@example.com"))
        await asyncio.sleep(0)
    ratio = statistics.median(unknown) / statistics.median(wrong)
    print(f"unknown user / wrong password: {ratio:.3f}")
    assert 0.95 < ratio < 1.05
