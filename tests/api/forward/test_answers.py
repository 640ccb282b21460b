"""The answers that each proxy understands: who may pass, where a visit goes on, and what a refusal says."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stateroom import testing
from stateroom.accounts.access import Need

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import ENDPOINTS, ENVOY, FORWARD, IDENTITY, NGINX, NOBODY, ORIGIN, PAGE, URL_ASKED, ask, cookie_of, register, running
from .conftest import RuleThat

pytestmark = pytest.mark.usefixtures("counted_ids")

FORGED = dict.fromkeys(IDENTITY, "forged")
SIGN_IN = "https://login.example.com/login"
NO_VISITS = [
    {"Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "websocket"}, {"Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Dest": "empty"}, {"Accept": "application/json"}, {"Accept": "image/*"}, {"X-Requested-With": "XMLHttpRequest"},
    {"X-Requested-With": "xmlhttprequest"},
]  # fmt: skip
VISITS: list[dict[str, str]] = [
    {}, {"Sec-Fetch-Dest": "iframe"}, {"Accept": "TEXT/HTML"}, {"X-Requested-With": "com.example.browser"},
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_who_is_signed_in_is_in_the_headers(client: ServiceClient, endpoint: str) -> None:
    await register(client)
    for by in ("GET", "HEAD"):
        answer = await ask(client, endpoint, PAGE | FORGED, by=by)
        assert answer.status == 200
        assert answer.identity == ["1", "ada@example.com", "Ada", "", "false", ""]
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_only_refusals_have_headers_for_browsers(client: ServiceClient, endpoint: str) -> None:
    refusal = await ask(client, endpoint)
    assert refusal.headers["X-Content-Type-Options"] == "nosniff"
    await register(client)
    answer = await ask(client, endpoint)
    assert answer.status == 200
    rest = {*IDENTITY, "Cookie", "Authorization", "Content-Type", "Cache-Control", "Date", "X-Request-ID", "Content-Length"}
    assert sorted(answer.headers) == sorted(rest)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_nobody_is_nobody_whatever_the_client_says(client: ServiceClient, endpoint: str) -> None:
    answer = await ask(client, endpoint, FORGED)
    assert (answer.status, answer.identity, answer.problem) == (401, NOBODY, "sign-in-required")
    assert "WWW-Authenticate" in answer.headers
    assert "Location" not in answer.headers


@pytest.mark.parametrize("endpoint", [FORWARD, ENVOY])
async def test_a_visit_is_sent_to_the_sign_in_and_back(client: ServiceClient, endpoint: str) -> None:
    for method in ("GET", "HEAD"):
        for headers in VISITS:
            answer = await ask(client, endpoint, PAGE | headers, method=method)
            assert (answer.status, answer.identity) == (302, NOBODY)
            assert answer.location == (SIGN_IN, [URL_ASKED])
            assert answer.headers["Cache-Control"] == "no-store"
    assert (await ask(client, FORWARD, {"Accept": "text/html"})).status == 302, "browsers of before 2023 send only this"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_what_is_no_visit_is_told_401(client: ServiceClient, endpoint: str) -> None:
    for headers in NO_VISITS:
        answer = await ask(client, endpoint, PAGE | headers)
        assert (answer.status, answer.identity, answer.problem) == (401, NOBODY, "sign-in-required"), headers
        assert "Location" not in answer.headers


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_no_method_but_get_and_head_is_a_visit(client: ServiceClient, endpoint: str) -> None:
    methods = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND")
    for method in methods:
        answer = await ask(client, endpoint, PAGE | {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}, method=method)
        assert (answer.status, answer.identity) == (401, NOBODY)
        assert "Location" not in answer.headers
    await register(client)
    for method in methods:
        answer = await ask(client, endpoint, {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}, method=method)
        assert (answer.status, answer.headers["Remote-User"]) == (200, "1")  # the application must check the origin


async def test_nginx_is_never_redirected_and_is_told_where_to_sign_in(client: ServiceClient) -> None:
    answer = await ask(client, NGINX, PAGE)
    assert (answer.status, answer.identity, answer.problem) == (401, NOBODY, "sign-in-required")
    assert answer.location == (SIGN_IN, [URL_ASKED])


@pytest.mark.parametrize("endpoint", [FORWARD, ENVOY])
async def test_a_form_of_a_signed_out_user_is_answered_by_a_page(client: ServiceClient, endpoint: str) -> None:
    form = PAGE | {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"{ORIGIN}/form?step=2"}
    answer = await ask(client, endpoint, form, method="POST")
    assert (answer.status, answer.identity) == (401, NOBODY)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"not sent" in answer.body
    assert f"{SIGN_IN}?rd=https%3A%2F%2Fapp.example.com%2Fform%3Fstep%3D2".encode() in answer.body
    assert "Location" not in answer.headers


async def test_a_form_of_another_site_leads_back_to_none(client: ServiceClient) -> None:
    for referer in ("https://evil.example/", "https://app.example.com.evil.example/", "https://app.example.com"):
        answer = await ask(client, FORWARD, PAGE | {"Referer": referer}, method="POST")
        assert answer.status == 401
        assert b"evil" not in answer.body
        assert f'href="{SIGN_IN}"'.encode() in answer.body


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_who_is_known_and_not_admitted_is_denied(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    rule(groups=frozenset({"staff"}))
    answer = await ask(client, endpoint)
    assert answer.status == 401, "an anonymous visitor may sign in as somebody who has access"
    await register(client)
    answer = await ask(client, endpoint)
    assert (answer.status, answer.identity, answer.problem) == (403, NOBODY, "access-denied")
    answer = await ask(client, endpoint, PAGE)
    assert (answer.status, answer.identity) == (403, NOBODY)
    assert "Location" not in answer.headers, "a redirect would lead in a circle"
    if endpoint == NGINX:
        assert answer.problem == "access-denied"
    else:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"ada@example.com" in answer.body


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_old_sign_in_goes_to_the_page_that_asks_for_the_password(
    client: ServiceClient, rule: RuleThat, endpoint: str
) -> None:
    rule(signed_in=True, need=Need(fresh_seconds=900))
    await register(client)
    assert (await ask(client, endpoint, PAGE)).status == 200
    assert client.app is not None
    testing.clock(client.app).move(minutes=16)
    answer = await ask(client, endpoint, PAGE)
    assert (answer.status, answer.identity) == (401 if endpoint == NGINX else 302, NOBODY)
    assert answer.location == ("https://login.example.com/confirm", [URL_ASKED])
    answer = await ask(client, endpoint)
    assert (answer.status, answer.identity, answer.problem) == (401, NOBODY, "reauthentication-required")
    assert "Location" not in answer.headers


async def test_the_sign_in_under_the_applications_own_host_comes_back_by_path(servers: Servers, tmp_path: Path) -> None:
    path = URL_ASKED.removeprefix(ORIGIN)
    async with running(servers, tmp_path, login_url="/.stateroom/login") as client:
        for endpoint in ENDPOINTS:
            answer = await ask(client, endpoint, PAGE)
            assert answer.location == (f"{ORIGIN}/.stateroom/login", [path])
            answer = await ask(client, endpoint, PAGE, url=f"{ORIGIN}//evil.example/")
            assert "evil" not in answer.headers["Location"]
        answer = await ask(client, FORWARD, PAGE, url="http://a_b.example:8080/x")
        assert answer.location == ("http://a_b.example:8080/.stateroom/login", ["/x"])
        answer = await ask(client, FORWARD, PAGE, url="http://[::1]:8080/x")
        assert answer.location == ("http://[::1]:8080/.stateroom/login", ["/x"])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_no_visit_is_sent_elsewhere(client: ServiceClient, endpoint: str) -> None:
    for host in ("evil.example", "app.example.com.evil.example", "app.example.com@evil.example", "app.example.com:1@evil.example"):
        answer = await ask(client, endpoint, PAGE, url=f"https://{host}/")
        assert answer.status in {302, 401, 403}
        assert "evil" not in answer.headers.get("Location", "")


async def test_a_signed_out_or_revoked_cookie_is_told_why(client: ServiceClient) -> None:
    await register(client)
    replayed = {"Cookie": f"session_id={cookie_of(client)}"}
    async with client.post("/api/auth/logout") as response:
        assert response.status == 200
    answer = await ask(client, FORWARD, replayed)
    assert (answer.status, answer.problem) == (401, "session-ended")
    assert b'"reason":"logout"' in answer.body


async def test_the_cookie_twice_is_one_users(client: ServiceClient) -> None:
    await register(client)
    cookie = cookie_of(client)
    client.session.cookie_jar.clear()
    assert (await ask(client, FORWARD, {"Cookie": f"session_id={cookie}; session_id={cookie}"})).status == 200


async def test_a_session_in_the_value_of_another_cookie_is_none(client: ServiceClient) -> None:
    await register(client)
    cookie = cookie_of(client)
    client.session.cookie_jar.clear()
    assert (await ask(client, FORWARD, {"Cookie": f"theme=dark session_id={cookie}"})).status == 401


async def test_a_redirect_never_names_an_address_of_ours(client: ServiceClient) -> None:
    """Requests of HTTP/1.0 have no Host, and a header that came twice tells none."""
    for headers in ([("X-Forwarded-Host", "other.example.com")], [("X-Forwarded-Host", "")]):
        answer = await ask(client, FORWARD, [*PAGE.items(), *headers])
        assert (answer.status, answer.identity) == (403, NOBODY)
        assert "Location" not in answer.headers
    answer = await ask(client, FORWARD, PAGE, url="https:///reports")
    assert answer.status == 403
    own = urlsplit(str(client.make_url("/"))).netloc
    answer = await ask(client, NGINX, PAGE)
    assert own not in answer.headers["Location"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_preflight_for_an_application_is_not_answered_for_it(servers: Servers, tmp_path: Path, endpoint: str) -> None:
    """`CORS_ORIGINS` may call our API. Whether they may call an application is for the rules and the application."""
    shop = "https://shop.example.com"
    asking = {"Origin": shop, "Access-Control-Request-Method": "DELETE", "Accept": "*/*"}
    async with running(servers, tmp_path, cors_origins=shop, return_hosts="app.example.com") as client:
        answer = await ask(client, endpoint, asking, method="OPTIONS")
    assert (answer.status, answer.identity, answer.problem) == (401, NOBODY, "sign-in-required")
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("login_url", ["/.stateroom/login", f"{ORIGIN}/login", "/sign-in?from=app"])
async def test_a_sign_in_page_that_the_proxy_gives_to_the_application_makes_no_circle(
    servers: Servers, tmp_path: Path, endpoint: str, login_url: str
) -> None:
    async with running(servers, tmp_path, login_url=login_url, return_hosts="app.example.com") as client:
        answer = await ask(client, endpoint, PAGE)
        asked = 0
        while "Location" in answer.headers:
            asked += 1
            assert asked < 2
            answer = await ask(client, endpoint, PAGE, url=answer.headers["Location"])
        assert (asked, answer.status, answer.identity) == (1, 403, NOBODY)
        assert b"LOGIN_URL" in answer.body


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_nor_does_the_page_that_asks_for_the_password(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    await register(client)
    rule(signed_in=True, need=Need(fresh_seconds=60))
    assert client.app is not None
    testing.clock(client.app).move(minutes=20)
    answer = await ask(client, endpoint, PAGE)
    assert answer.location[0] == "https://login.example.com/confirm"
    answer = await ask(client, endpoint, PAGE, url=answer.headers["Location"])
    assert (answer.status, answer.headers.get("Location")) == (403, None)
