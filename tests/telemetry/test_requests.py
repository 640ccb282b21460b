"""The id and the log line of each request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app

from ..conftest import ServiceClient
from ..logs import capture_events
from ..servers import Servers


async def request_id(client: ServiceClient, given: str | None = None) -> str:
    headers = {} if given is None else {"X-Request-ID": given}
    async with client.get("/livez", headers=headers) as response:
        return response.headers["X-Request-ID"]


@pytest.fixture
async def trusting(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> ServiceClient:
    """The service behind a trusted proxy, which is the test."""
    return await aiohttp_client(make_app(servers.service_settings(tmp_path, trusted_proxies="127.0.0.0/8")))


async def test_each_request_has_an_id_of_its_own(service: ServiceClient) -> None:
    ids = {await request_id(service) for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


async def test_a_strangers_request_id_is_not_taken_over(service: ServiceClient) -> None:
    assert await request_id(service, "abcdefgh-1234") != "abcdefgh-1234"


async def test_a_trusted_proxys_request_id_is_taken_over(trusting: ServiceClient) -> None:
    assert await request_id(trusting, "abcdefgh-1234") == "abcdefgh-1234"
    async with trusting.get("/api/profile", headers={"X-Request-ID": "abcdefgh-1234"}) as response:
        assert (await response.json(content_type=None))["request_id"] == "abcdefgh-1234"


@pytest.mark.parametrize("odd", ["short", "x" * 129, "a b c d e f", 'quote"quote"', "ünïcödé-id"])
async def test_an_odd_request_id_is_not_taken_over_from_anyone(trusting: ServiceClient, odd: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", await request_id(trusting, odd))


async def lines_of(client: ServiceClient, path: str) -> list[Any]:
    with capture_events() as logs:
        async with client.get(path) as response:
            await response.read()
    return [each for each in logs if each["event"] == "request"]


async def test_the_access_log_has_the_route_and_not_what_the_client_wrote(service: ServiceClient) -> None:
    [line] = await lines_of(service, "/api/sessions?token=secret")
    assert (line["method"], line["route"], line["status"], line["log_level"]) == ("GET", "/api/sessions", 401, "info")
    assert line["ms"] >= 0
    [line] = await lines_of(service, "/private/secret")
    assert line["route"] == "unmatched"
    assert "secret" not in str(line)


async def test_the_access_log_is_silent_above_info(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(make_app(servers.service_settings(tmp_path, log_level="warning")))
    assert await lines_of(client, "/livez") == []
