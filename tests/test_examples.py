"""The examples work."""

from __future__ import annotations

import runpy
from pathlib import Path

from aiohttp import CookieJar
from pytest_aiohttp import AiohttpClient

from stateroom import testing

from .servers import Servers

EXAMPLES = Path(__file__).parents[1] / "examples"


async def test_the_cart_remembers_and_knows_who_is_signed_in(servers: Servers, aiohttp_client: AiohttpClient) -> None:
    make_app = runpy.run_path(str(EXAMPLES / "cart.py"))["make_app"]
    client = await aiohttp_client(make_app(servers.settings("valkey")), cookie_jar=CookieJar(unsafe=True))

    async with client.get("/") as response:
        assert await response.json() == {"cart": []}
    for sku, cart in [("tea", ["tea"]), ("honey", ["tea", "honey"])]:
        async with client.post("/cart", json={"sku": sku}) as response:
            assert await response.json() == {"cart": cart}
    async with client.get("/") as response:
        assert await response.json() == {"cart": ["tea", "honey"], "flash_success": "Added.\nAdded."}
    async with client.get("/") as response:
        assert await response.json() == {"cart": ["tea", "honey"]}

    async with client.get("/me") as response:
        assert response.status == 401
    await testing.sign_in_as(client, 42)
    async with client.get("/me") as response:
        assert await response.json() == {"user_id": 42}
