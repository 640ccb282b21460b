"""`/metrics`: its figures, and who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app, make_metrics_app

from ..conftest import ServiceClient
from ..servers import Servers

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


async def scrape(client: ServiceClient, **headers: str) -> str:
    async with client.get("/metrics", headers=headers) as response:
        assert response.status == 200
        return await response.text()


def figures(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(text: str, name: str, **labels: str) -> float:
    return figures(text)[name, frozenset(labels.items())]


async def status(client: ServiceClient, **headers: str) -> int:
    async with client.get("/metrics", headers=headers) as response:
        await response.read()
        return response.status


async def test_what_happened_is_counted(service: ServiceClient) -> None:
    for method, path, body in [
        ("POST", "/api/auth/register", ADA),
        ("GET", "/api/auth/check", None),
        ("POST", "/api/auth/login", {"email": ADA["email"], "password": "wrong"}),
        ("POST", "/api/auth/login", {"email": ADA["email"], "password": ADA["password"]}),
        ("POST", "/api/auth/logout", None),
    ]:
        async with service.request(method, path, json=body) as response:
            await response.read()
    text = await scrape(service)
    assert figure(text, "stateroom_sessions_created_total") == 2
    assert figure(text, "stateroom_sessions_ended_total", reason="rotated") == 1
    assert figure(text, "stateroom_sessions_ended_total", reason="logout") == 1
    assert figure(text, "stateroom_session_lifetime_seconds_count") >= 1
    assert figure(text, "stateroom_session_loads_total", result="hit") == 4
    assert figure(text, "stateroom_logins_total", result="success") == 1
    assert figure(text, "stateroom_logins_total", result="failure") == 1
    assert figure(text, "stateroom_password_hash_duration_seconds_count") == 3
    assert figure(text, "http_requests_total", method="POST", route="/api/auth/login", code="401") == 1
    assert figure(text, "http_request_duration_seconds_count", method="GET", route="/api/auth/check") == 1
    assert figure(text, "stateroom_redis_up") == 1
    assert figure(text, "stateroom_redis_pool_connections_max") == 20


@pytest.mark.parametrize("name", ["attacker.example", "attacker.example:8080", "127.0.0.1.attacker.example", "[", "10.0.0.1", ""])
async def test_another_hosts_name_reads_nothing(service: ServiceClient, name: str) -> None:
    """A page of another site can lead its own name here (DNS rebinding); a proxy on this host may set no header."""
    assert await status(service, Host=name) in {400, 404}


@pytest.mark.parametrize("name", ["localhost", "localhost:8080", "127.0.0.1", "127.1.2.3:80", "[::1]:8080"])
async def test_a_loopback_name_reads(service: ServiceClient, name: str) -> None:
    assert await status(service, Host=name) == 200


async def test_labels_name_no_path_method_or_id_of_the_clients_own(service: ServiceClient) -> None:
    for method, path in [("GET", "/no/such/ada@example.com"), ("PROPFIND", "/livez"), ("DELETE", "/api/sessions/a-handle")]:
        async with service.request(method, path) as response:
            await response.read()
    text = await scrape(service)
    assert figure(text, "http_requests_total", method="GET", route="unmatched", code="404") == 1
    assert figure(text, "http_requests_total", method="OTHER", route="unmatched", code="405") == 1
    assert figure(text, "http_requests_total", method="DELETE", route="/api/sessions/{id}", code="401") == 1
    for leak in ("ada@", "PROPFIND", "a-handle"):
        assert leak not in text


@pytest.mark.parametrize(
    "name",
    [
        "sessions_active", "sessions_created_total", "session_bytes_count", "sessions_ended_total",
        "session_lifetime_seconds_count", "session_loads_total", "logins_total",
        "password_hash_duration_seconds_count", "password_hash_queue_depth", "redis_up",
        "redis_circuit_state", "redis_pool_connections", "redis_pool_connections_max", "redis_pool_pending",
        "redis_pool_acquire_duration_seconds_count", "redis_pool_timeouts_total", "redis_failovers_total",
        "build_info",
    ],
)  # fmt: skip
async def test_what_dashboards_ask_for_is_there_from_the_start(service: ServiceClient, name: str) -> None:
    assert f"stateroom_{name}" in {found for found, _ in figures(await scrape(service))}


async def test_build_info_says_what_runs(service: ServiceClient) -> None:
    import stateroom

    assert f'version="{stateroom.__version__}"' in await scrape(service)


async def test_openmetrics_is_given_to_who_asks_for_it(service: ServiceClient) -> None:
    async with service.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as response:
        text = await response.text()
        assert response.content_type == "application/openmetrics-text"
    assert "stateroom_sessions_created" in {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    async with service.get("/metrics") as response:
        assert response.content_type == "text/plain"
        assert "# EOF" not in await response.text()


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
async def test_a_version_that_is_no_number_gets_the_plain_text(service: ServiceClient, kind: str) -> None:
    async with service.get("/metrics", headers={"Accept": f"{kind}; version=x"}) as response:
        assert response.status == 200
        assert response.content_type == "text/plain"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"])
async def test_what_came_through_a_proxy_gets_no_metrics(service: ServiceClient, header: str) -> None:
    assert await status(service) == 200
    assert await status(service, **{header: "127.0.0.1"}) == 404


async def test_a_token_opens_metrics_from_anywhere(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(make_app(servers.service_settings(tmp_path, metrics_token="a-token-for-prometheus")))
    through_proxy = {"X-Forwarded-For": "203.0.113.9"}
    assert await status(client, **through_proxy, Authorization="Bearer a-token-for-prometheus") == 200
    assert await status(client, **through_proxy, Authorization="Bearer a-token-for-prometheuz") == 404
    assert await status(client, **through_proxy, Authorization="Bearer \udcff") == 404


async def test_a_listener_of_its_own_takes_metrics_off_the_public_one(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    service = make_app(servers.service_settings(tmp_path, metrics_host="127.0.0.1", metrics_port=9464))
    public = await aiohttp_client(service)
    own: TestClient = await aiohttp_client(make_metrics_app(service))  # type: ignore[type-arg]
    assert await status(public) == 404
    assert await status(own, **{"X-Forwarded-For": "203.0.113.9"}) == 200
    assert "stateroom_sessions_active" in await scrape(own)
    async with own.get("/api/auth/check") as response:
        assert response.status == 404
