"""The headers that every answer has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app

from ..conftest import ServiceClient
from ..servers import Servers


@pytest.mark.parametrize("path", ["/", "/api/auth/check", "/api/profile", "/livez", "/metrics", "/no/such/path"])
async def test_every_answer_is_guarded_against_browsers_that_guess(service: ServiceClient, path: str) -> None:
    async with service.get(path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize("path", ["/", "/livez", "/no/such/path"])
async def test_no_version_is_told(service: ServiceClient, path: str) -> None:
    import aiohttp

    import stateroom

    async with service.get(path) as response:
        told = f"{dict(response.headers)}{await response.text()}"
    assert aiohttp.__version__ not in told
    assert stateroom.__version__ not in told
    assert "Python" not in told


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({}, "max-age=63072000"),  # other hosts below this one may have no https
        ({"hsts_max_age": "300"}, "max-age=300"),
        ({"hsts_subdomains": True, "hsts_max_age": "365d"}, "max-age=31536000; includeSubDomains"),
        ({"hsts_max_age": 0}, None),
        ({"hsts_max_age": 0, "hsts_subdomains": True}, None),
        ({"cookie_secure": False, "session_name": "session_id", "hsts_subdomains": True}, None),
    ],
)
async def test_hsts_is_what_the_settings_say_and_comes_with_secure_cookies(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, values: dict[str, Any], sent: str | None
) -> None:
    settings = servers.service_settings(tmp_path, **({"cookie_secure": True, "session_name": "__Host-session"} | values))
    client = await aiohttp_client(make_app(settings))
    for path in ("/api/auth/check", "/login", "/no/such/path"):
        async with client.get(path) as response:
            assert response.headers.get("Strict-Transport-Security") == sent


async def test_a_handler_may_have_a_policy_of_its_own(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="page", headers={"Content-Security-Policy": "default-src 'self'"})

    app = make_app(servers.service_settings(tmp_path))
    app.router.add_get("/page", page)
    client = await aiohttp_client(app)
    async with client.get("/page") as response:
        assert response.headers.getall("Content-Security-Policy") == ["default-src 'self'"]
