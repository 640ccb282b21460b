"""Under which origin a client uses us, and which origins may ask: over HTTP, behind a trusted proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import testing
from stateroom.origins import plain_origin

Make = Callable[..., Awaitable[TestClient[web.Request, web.Application]]]


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(stateroom.browser_origin(request))
    await socket.close()
    return socket


async def write(request: web.Request) -> web.Response:
    return web.json_response(stateroom.browser_origin(request))


@pytest.fixture
def make(aiohttp_client: AiohttpClient) -> Make:
    async def made(**values: Any) -> TestClient[web.Request, web.Application]:
        app = web.Application()
        stateroom.setup(app, testing.settings(trusted_proxies="127.0.0.1/32", **values), client_factory=testing.fake_redis)
        app.add_routes([web.get("/chat", chat), web.post("/write", write)])
        return await aiohttp_client(app)

    return made


async def opened(client: TestClient[web.Request, web.Application], headers: dict[str, str]) -> str:
    """The origin that the handler of a WebSocket sees, or the status of the refusal."""
    try:
        async with client.ws_connect("/chat", headers=headers) as socket:
            return str((await socket.receive()).data)
    except WSServerHandshakeError as refusal:
        return str(refusal.status)


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "example.com"}, "https://example.com"),
        ({"X-Forwarded-Proto": "WSS", "X-Forwarded-Host": "Example.COM:443"}, "https://example.com"),
        ({"X-Forwarded-Proto": "ws", "X-Forwarded-Host": "example.com:80"}, "http://example.com"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com:443", "X-Forwarded-Port": "443"}, "https://example.com"),
        ({"X-Forwarded-Proto": "https", "Host": "example.com:443"}, "https://example.com"),
        ({"X-Forwarded-Proto": "http", "Host": "example.com:80"}, "http://example.com"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com:8443"}, "https://example.com:8443"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com:80"}, "https://example.com:80"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com", "X-Forwarded-Port": "8443"}, "https://example.com"),
        ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "[2001:DB8::1]:443"}, "https://[2001:db8::1]"),
        ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "[::443]"}, "https://[::443]"),
        ({"X-Forwarded-Proto": "https, wss", "X-Forwarded-Host": "example.com"}, "https://example.com"),
        ({"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "example.com."}, "https://example.com."),
    ],
    ids=str,
)
async def test_a_page_calls_its_own_server_behind_a_proxy(make: Make, headers: dict[str, str], origin: str) -> None:
    client = await make()
    assert await opened(client, headers | {"Origin": origin}) == origin
    async with client.post("/write", headers=headers | {"Origin": origin, "Sec-Fetch-Site": "same-origin"}) as response:
        assert (response.status, await response.json()) == (200, origin)
    for other in (
        "https://evil.example",
        "http://example.com:444",
        "null",
        f"{origin}.evil.example",
        origin.replace("//", "//www."),
    ):
        assert await opened(client, headers | {"Origin": other}) == "403"


@pytest.mark.parametrize("sent", ["https://example.com:443", "HTTPS://Example.Com", "https://example.com:"])
async def test_a_program_may_write_the_default_port_into_its_origin(make: Make, sent: str) -> None:
    client = await make()
    assert await opened(client, {"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "example.com", "Origin": sent}) != "403"
    named = await make(public_origins="https://Example.com:443/")
    assert await opened(named, {"Origin": sent}) != "403"
    assert await opened(named, {"Origin": "https://example.com."}) == "403"  # to a browser this is another host
    assert await opened(named, {"Origin": "http://example.com"}) == "403"


async def test_the_page_of_the_public_url_calls_us_through_a_proxy_that_says_http(make: Make) -> None:
    client = await make(public_url="https://example.com/sso")
    inner = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.com"}
    assert await opened(client, inner | {"Origin": "https://example.com"}) == "https://example.com"
    assert await opened(client, inner | {"Origin": "http://example.com"}) == "403"
    other = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "other.example"}
    assert await opened(client, other | {"Origin": "http://other.example"}) == "http://other.example"
    assert await opened(client, other | {"Origin": "https://example.com"}) == "403"


async def test_the_public_url_is_an_origin_of_ours_beside_the_others(make: Make) -> None:
    client = await make(public_url="https://example.com", public_origins="https://app.example.com")
    for origin in ("https://example.com", "https://app.example.com"):
        assert await opened(client, {"Origin": origin}) != "403"
    for origin in ("http://example.com", f"http://127.0.0.1:{client.port}", "", "null"):
        assert await opened(client, {"Origin": origin}) == "403"


async def test_headers_of_a_stranger_name_no_origin(make: Make, aiohttp_client: AiohttpClient) -> None:
    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.add_routes([web.get("/chat", chat)])
    stranger = await aiohttp_client(app)
    forwarded = {"X-Forwarded-Proto": "wss", "X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"}
    assert await opened(stranger, forwarded) == "403"


@pytest.mark.parametrize("setting", ["cors_origins", "public_origins"])
@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "safari-web-extension://0A1B2C3D-0000",
    ],
)
async def test_an_application_with_a_scheme_of_its_own_may_call(make: Make, setting: str, origin: str) -> None:
    client = await make(**{setting: f"https://example.com, {origin}"})
    for sent in (origin, origin.upper()):
        async with client.post("/write", headers={"Origin": sent, "Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 200
        assert await opened(client, {"Origin": sent}) != "403"
    scheme, _, host = origin.partition("://")
    for other in (f"https://{host}", f"{scheme}://{host}.evil", f"{scheme}://evil", f"{scheme}x://{host}", scheme, f"{origin}:1"):
        async with client.post("/write", headers={"Origin": other, "Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 403, other


async def test_the_origin_of_a_pages_own_request_is_compared_as_text(make: Make) -> None:
    client = await make()
    own = f"http://127.0.0.1:{client.port}"
    async with ClientSession() as http, http.post(f"{own}/write", headers={"Origin": own}) as response:
        assert (response.status, await response.json()) == (200, own)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("https://A.example:443", "https://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("WS://a.example:80", "http://a.example"),
        ("https://[::1]:443", "https://[::1]"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("tauri://localhost:443", "tauri://localhost:443"),
        ("null", "null"),
        ("", ""),
    ],
)
def test_both_sides_of_a_comparison_are_written_in_one_way(text: str, plain: str) -> None:
    assert plain_origin(text) == plain
