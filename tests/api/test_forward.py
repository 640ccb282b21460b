"""Forward auth: the requests of each proxy, and the answers that it understands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDictProxy
from pytest_aiohttp import AiohttpClient

from stateroom import SESSIONS, testing
from stateroom.app import make_app

from ..conftest import ServiceClient
from ..servers import Servers
from .mailed import MAIL
from .mailed import start as start_mailed

pytestmark = pytest.mark.usefixtures("counted_ids")

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
ORIGINAL = {
    "X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Uri": "/reports?year=2026,27&x=/",
    "X-Forwarded-Method": "GET",
}  # fmt: skip
FORGED = {"Remote-User": "1", "Remote-Email": "root@example.com", "Remote-Name": "Root", "Remote-Session-Degraded": "false"}
ENDPOINTS = ["/auth/forward", "/auth/request", "/auth/ext-authz/reports"]


@pytest.fixture
async def client(servers: Servers, tmp_path: Path) -> AsyncIterator[ServiceClient]:
    settings = servers.service_settings(
        tmp_path, trusted_proxies="127.0.0.1/32", return_hosts="app.example.com", login_url="https://login.example.com/login"
    )
    async with TestClient(TestServer(make_app(settings))) as made:
        yield made


async def register(client: ServiceClient, **changes: str) -> None:
    async with client.post("/api/auth/register", json=ADA | changes) as response:
        assert response.status == 201


async def ask(
    client: ServiceClient, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, CIMultiDictProxy[str]]:
    async with client.request(method, path, headers=headers or {}, allow_redirects=False) as response:
        await response.read()
        return response.status, response.headers


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_is_signed_in_is_in_the_headers(client: ServiceClient, path: str, method: str) -> None:
    await register(client)
    status, headers = await ask(client, path, PAGE | ORIGINAL | FORGED, method)
    assert status == 200
    assert [headers[name] for name in FORGED] == ["1", "ada@example.com", "Ada", "false"]
    assert "Set-Cookie" not in headers
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_cookies_go_on_without_ours(client: ServiceClient, path: str) -> None:
    await register(client)
    [cookie] = [each for each in client.session.cookie_jar if each.key == "session_id"]
    client.session.cookie_jar.clear()
    mine = f"session_id={cookie.value}"
    for sent, others in {
        mine: "",
        f"theme=dark; {mine}; other=1": "theme=dark; other=1",
        f"{mine};a=1;;  b=x=y; xsession_id=2": "a=1; b=x=y; xsession_id=2",
        f"name=J\u00f6; {mine}": "name=J\u00f6",
    }.items():
        status, headers = await ask(client, path, {"Cookie": sent})
        assert (status, headers["Cookie"]) == (200, others)
    _, headers = await ask(client, path, {"Cookie": "theme=dark"})
    assert "Cookie" not in headers  # The proxy may show the whole refusal to the user.


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_nobody_is_nobody_whatever_the_client_says(client: ServiceClient, path: str) -> None:
    status, headers = await ask(client, path, ORIGINAL | FORGED)
    assert status == 401
    assert [headers[name] for name in FORGED] == ["", "", "", ""]


async def test_a_visited_page_is_sent_to_the_sign_in_and_back(client: ServiceClient) -> None:
    status, headers = await ask(client, "/auth/forward", PAGE | ORIGINAL)
    assert status == 302
    location = urlsplit(headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == "https://login.example.com/login"
    assert parse_qs(location.query)["rd"] == ["https://app.example.com/reports?year=2026,27&x=/"]
    assert [headers[name] for name in FORGED] == ["", "", "", ""]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Mode": "no-cors"}, {"Accept": "application/json"}, {"Accept": "image/*"},
        {"X-Forwarded-Method": "POST"}, {"X-Forwarded-Method": "DELETE"},
    ],
)  # fmt: skip
async def test_what_is_no_visit_is_told_401(client: ServiceClient, headers: dict[str, str]) -> None:
    status, answer = await ask(client, "/auth/forward", PAGE | ORIGINAL | headers)
    assert status == 401
    assert "Location" not in answer


async def test_nginx_is_never_redirected_and_is_told_where_to_sign_in(client: ServiceClient) -> None:
    original = {"X-Original-URL": "https://app.example.com/reports?a=1,2"}
    status, headers = await ask(client, "/auth/request", PAGE | original)
    assert status == 401
    assert parse_qs(urlsplit(headers["Location"]).query)["rd"] == ["https://app.example.com/reports?a=1,2"]


async def test_envoy_asks_with_the_requests_own_method_and_path(client: ServiceClient) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com"}
    status, headers = await ask(client, "/auth/ext-authz/reports?year=2026", PAGE | told)
    assert status == 302
    assert parse_qs(urlsplit(headers["Location"]).query)["rd"] == ["https://app.example.com/reports?year=2026"]
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await ask(client, "/auth/ext-authz/reports", told | {"Origin": "https://app.example.com"}, method))[0] == 401
    await register(client)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers = await ask(client, "/auth/ext-authz/reports", told | {"Origin": "https://app.example.com"}, method)
        assert (status, headers["Remote-User"]) == (200, "1")
    assert (await ask(client, "/auth/ext-authz/a%0Ab", told))[0] == 200


@pytest.mark.parametrize(
    "told",
    [
        {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Host": "app.example.com.evil.example"},
        {"X-Original-URL": "https://evil.example/"}, {"X-Original-URL": "javascript:alert(1)"},
        {"X-Forwarded-Uri": "no-path"}, {"X-Forwarded-Host": "app.example.com@evil.example"},
    ],
)  # fmt: skip
async def test_nobody_is_sent_elsewhere(client: ServiceClient, told: dict[str, str]) -> None:
    _, headers = await ask(client, "/auth/forward", PAGE | ORIGINAL | told)
    assert "evil" not in headers["Location"]
    assert "javascript" not in headers["Location"]


async def test_a_sign_in_under_the_applications_own_host_comes_back_by_path(servers: Servers, tmp_path: Path) -> None:
    settings = servers.service_settings(tmp_path, trusted_proxies="127.0.0.1/32")
    async with TestClient(TestServer(make_app(settings))) as client:
        for told in (ORIGINAL, {"X-Original-URL": f"https://app.example.com{ORIGINAL['X-Forwarded-Uri']}"}):
            _, headers = await ask(client, "/auth/forward", PAGE | told)
            location = urlsplit(headers["Location"])
            assert (f"{location.scheme}://{location.netloc}", location.path) == ("https://app.example.com", "/login")
            assert parse_qs(location.query)["rd"] == [ORIGINAL["X-Forwarded-Uri"]]
        _, headers = await ask(client, "/auth/forward", PAGE | ORIGINAL | {"X-Forwarded-Uri": "//evil.example/"})
        assert headers["Location"] == "https://app.example.com/login"
        _, headers = await ask(client, "/auth/forward", PAGE | ORIGINAL | {"X-Forwarded-Host": "app.example.com@evil.example"})
        assert headers["Location"].startswith("/login?")
        _, headers = await ask(client, "/auth/request", PAGE | {"X-Original-URL": "https://app.example.com/reports"})
        assert headers["Location"] == "/login?rd=%2Freports"  # nginx does not change the path.


async def test_an_untrusted_peer_does_not_say_where_to_return_to(service: ServiceClient) -> None:
    status, headers = await ask(service, "/auth/forward", PAGE | ORIGINAL)
    assert (status, headers["Location"]) == (302, "/login")


@pytest.mark.parametrize("name", ["Jos\u00e9 \u2603", "100% Ada", "Ada, \u201cthe Countess\u201d", "\u6797"])
async def test_names_of_any_kind_are_safe_and_lose_nothing(client: ServiceClient, name: str) -> None:
    await register(client, name=name)
    _, headers = await ask(client, "/auth/forward")
    assert headers["Remote-Name"].isascii()
    assert unquote(headers["Remote-Name"]) == name


async def test_a_signed_out_or_revoked_cookie_is_told_why(client: ServiceClient) -> None:
    await register(client)
    [cookie] = [each for each in client.session.cookie_jar if each.key == "session_id"]
    replayed = {"Cookie": f"session_id={cookie.value}"}
    async with client.post("/api/auth/logout") as response:
        assert response.status == 200
    async with client.get("/auth/forward", headers=replayed) as response:
        assert response.status == 401
        assert (await response.json())["reason"] == "logout"


async def test_the_cookie_twice_is_one_users(client: ServiceClient) -> None:
    await register(client)
    [cookie] = [each for each in client.session.cookie_jar if each.key == "session_id"]
    client.session.cookie_jar.clear()
    twice = {"Cookie": f"session_id={cookie.value}; session_id={cookie.value}"}
    assert (await ask(client, "/auth/forward", twice))[0] == 200


async def test_a_session_in_the_value_of_another_cookie_is_none(client: ServiceClient) -> None:
    await register(client)
    [cookie] = [each for each in client.session.cookie_jar if each.key == "session_id"]
    client.session.cookie_jar.clear()
    assert (await ask(client, "/auth/forward", {"Cookie": f"theme=dark session_id={cookie.value}"}))[0] == 401


async def test_while_redis_is_away_identity_stands_and_says_so(client: ServiceClient) -> None:
    await register(client)
    app = client.app
    assert app is not None
    with testing.redis_down(app):
        status, headers = await ask(client, "/auth/forward")
        assert status == 200
        assert [headers[name] for name in FORGED] == ["1", "ada@example.com", "Ada", "true"]


async def test_what_cannot_be_known_is_503_and_no_redirect(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(client)
    app = client.app
    assert app is not None
    manager = app[SESSIONS]

    async def away(*_: Any) -> Any:
        from stateroom import DatabaseUnavailable

        raise DatabaseUnavailable("away, for a test")

    monkeypatch.setattr(manager._parts.trust, "why_ended_by_journal", away)
    with testing.redis_down(app):
        for path in ENDPOINTS:
            status, headers = await ask(client, path, PAGE | ORIGINAL)
            assert status == 503
            assert int(headers["Retry-After"]) >= 1
            assert "Set-Cookie" not in headers


async def test_identity_is_read_from_the_database_once_a_minute(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(client)
    app = client.app
    assert app is not None
    from stateroom.accounts import ACCOUNTS

    asked = []
    real = app[ACCOUNTS].users.by_id

    async def by_id(user_id: int) -> Any:
        asked.append(user_id)
        return await real(user_id)

    monkeypatch.setattr(app[ACCOUNTS].users, "by_id", by_id)
    for _ in range(5):
        assert (await ask(client, "/auth/forward"))[0] == 200
    assert asked == [1]


async def test_an_address_that_must_be_confirmed_is_not_passed_on(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    """A stranger may have typed it, and applications trust it."""
    service = await start_mailed(aiohttp_client, servers.service_settings(tmp_path, **MAIL, email_verification="optional"))
    await service.post("/api/auth/register", ADA, status=201)
    token = await service.post_room.token("verify")
    async with service.client.get("/auth/forward") as response:
        assert (response.status, response.headers["Remote-Email"], response.headers["Remote-Name"]) == (200, "", "Ada")
    await service.post("/api/auth/email/verify", {"token": token}, status=200)
    async with service.client.get("/auth/forward") as response:
        assert response.headers["Remote-Email"] == ADA["email"]
