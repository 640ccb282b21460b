"""Cross-origin calls: from the named origins only, with credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app

from ..conftest import ServiceClient
from ..servers import Servers

SHOP = "https://shop.example.com"


@pytest.fixture
async def shop_service(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> ServiceClient:
    return await aiohttp_client(make_app(servers.service_settings(tmp_path, cors_origins=SHOP)))


async def test_a_named_origin_may_ask_first_and_call_with_credentials(shop_service: ServiceClient) -> None:
    asking = {"Origin": SHOP, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "content-type"}
    async with shop_service.options("/api/sessions", headers=asking) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
        assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
    calling = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
    async with shop_service.post("/api/auth/logout", headers=calling) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Origin" in response.headers["Vary"]


async def test_a_problem_can_be_read_by_a_named_origin_too(shop_service: ServiceClient) -> None:
    async with shop_service.get("/api/profile", headers={"Origin": SHOP}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "https://shop.example.com.evil.com", "http://shop.example.com", "null"]
)
async def test_other_origins_may_neither_ask_nor_call(shop_service: ServiceClient, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with shop_service.options("/api/auth/login", headers=asking) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]
    async with shop_service.post("/api/auth/logout", headers={"Origin": origin}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_application_in_a_web_view_reads_answers_under_the_origin_that_it_sent(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    settings = servers.service_settings(tmp_path, cors_origins=f"{SHOP}:443, capacitor://localhost")
    service = await aiohttp_client(make_app(settings))
    for origin in ("capacitor://localhost", "capacitor://LocalHost", SHOP):
        asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with service.options("/api/auth/login", headers=asking) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == origin
        async with service.post("/api/auth/logout", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == origin
    for origin in ("capacitor://localhost.evil", "capacitor://", "http://localhost"):
        async with service.post("/api/auth/logout", headers={"Origin": origin}) as response:
            assert response.status == 403


async def test_without_the_setting_nothing_is_said_to_other_origins(service: ServiceClient) -> None:
    async with service.get("/api/auth/check", headers={"Origin": SHOP}) as response:
        assert response.status == 200
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", [SHOP, "https://evil.example.com"])
async def test_a_preflight_of_another_application_is_judged_by_the_rules(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, origin: str
) -> None:
    """Envoy asks with the method and the origin of the request. Only 200 lets it pass."""
    rules = tmp_path / "access.yaml"
    rules.write_text("- name: app\n  hosts: [app.example.com]\n  methods: [OPTIONS]\n  paths: [/open]\n  allow: anyone\n")
    settings = {"cors_origins": SHOP, "access_rules_file": rules, "trusted_proxies": "127.0.0.1/32"}
    client = await aiohttp_client(make_app(servers.service_settings(tmp_path, **settings)))
    asking = {
        "Origin": origin, "Access-Control-Request-Method": "PUT", "Host": "app.example.com", "X-Forwarded-Proto": "https",
    }  # fmt: skip
    for path, status in (("/open", 200), ("/closed", 401)):
        async with client.options(f"/auth/ext-authz{path}", headers=asking) as response:
            assert response.status == status
