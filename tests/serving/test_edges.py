"""What strangers and untrusted proxies cannot do to the running service."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..servers import Servers


def _get(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


def test_headers_of_a_stranger_do_not_turn_cookies_secure(tmp_path: Path) -> None:
    with Serving(tmp_path) as service:
        for name in ("X_Forwarded_For", "X_Real_IP", "X_Forwarded_Proto", "Forwarded"):
            assert _get(service.port, "/api/auth/check", **{name: "203.0.113.9"}) == 200
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        body = b'{"email": "demo@example.com", "password": "password123"}'
        connection.request("POST", "/api/auth/login", body, {"Content-Type": "application/json"})
        cookie = connection.getresponse().headers["Set-Cookie"]
        connection.close()
        assert "Secure" not in cookie
        assert service.output.count("forwarding_headers_ignored") == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("evil.example", 404), ("localhost.evil.example:80", 404)],
)
def test_metrics_are_not_read_under_a_foreign_host(tmp_path: Path, host: str, status: int) -> None:
    with Serving(tmp_path) as service:
        assert _get(service.port, "/metrics", Host=host) == status


def test_off_loopback_metrics_have_a_listener_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    with Serving(tmp_path, HOST="0.0.0.0", METRICS_PORT=port) as service:
        assert _get(service.port, "/metrics") == 404
        assert _get(port, "/metrics") == 200
        assert _get(port, "/metrics", Host="evil.example") == 404
        assert f"metrics are at http://127.0.0.1:{port}/metrics" in service.output


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", (None, None)), ("0.0.0.0", ("127.0.0.1", 9464))])
def test_the_default_of_the_metrics_listener(host: str, told: tuple[str | None, int | None]) -> None:
    settings = stateroom.Settings(_env_file=None, host=host)
    assert (settings.metrics_host, settings.metrics_port) == told


async def test_an_application_under_auth_is_checked_for_its_origin(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    async def change(_request: web.Request) -> web.Response:
        return web.Response(text="changed")

    app = web.Application()
    stateroom.setup(app, servers.service_settings(tmp_path))
    for path in ("/auth/change-email", "/auth/forward", "/auth/ext-authz/x"):
        app.router.add_post(path, change)
    client = await aiohttp_client(app)
    for path in ("/auth/change-email", "/auth/forward", "/auth/ext-authz/x"):
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with client.post(path, headers=headers) as response:
                assert response.status == 403
        async with client.post(path) as response:
            assert response.status == 200
