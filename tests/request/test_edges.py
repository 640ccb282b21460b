"""What strangers send at the edges: forwarding headers, and unsafe requests of other sites."""

from __future__ import annotations

import pytest
import structlog
from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom

from ..servers import Servers

CROSS_SITE = {"Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site"}


def application(servers: Servers, **values: object) -> web.Application:
    async def change_email(request: web.Request) -> web.Response:
        return web.json_response({"changed": True})

    async def sign_in(request: web.Request) -> web.Response:
        await stateroom.sign_in(request, "ada")
        return web.Response()

    app = web.Application()
    stateroom.setup(app, servers.settings("valkey", **values))
    app.router.add_post("/sign-in", sign_in)
    for path in ("/auth/change-email", "/auth/forward", "/auth/request", "/auth/ext-authz/x", "/login"):
        app.router.add_post(path, change_email)
    return app


@pytest.mark.parametrize("path", ["/auth/change-email", "/auth/forward", "/auth/request", "/auth/ext-authz/x", "/login"])
async def test_no_path_of_an_application_is_exempt_from_the_origin_check(
    servers: Servers, aiohttp_client: AiohttpClient, path: str
) -> None:
    client = await aiohttp_client(application(servers))
    assert (await client.post(path, headers=CROSS_SITE)).status == 403
    assert (await client.post(path)).status == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "Forwarded"])
async def test_a_strangers_header_turns_nobodys_cookie_secure(servers: Servers, aiohttp_client: AiohttpClient, header: str) -> None:
    app = application(servers, redis_mode="embedded", cookie_secure=None)
    client = await aiohttp_client(app)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await client.post("/sign-in", headers={header: "192.0.2.1"})
    async with client.post("/sign-in") as response:
        assert "Secure" not in response.headers["Set-Cookie"]
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["forwarding_headers_ignored"]


async def test_a_trusted_proxys_request_turns_cookies_secure(servers: Servers, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(application(servers, redis_mode="embedded", cookie_secure=None, trusted_proxies="127.0.0.0/8"))
    async with client.post("/sign-in") as response:
        assert "Secure" not in response.headers["Set-Cookie"]
    async with client.post("/sign-in", headers={"X-Forwarded-For": "192.0.2.1"}) as response:
        assert "Secure" in response.headers["Set-Cookie"]
