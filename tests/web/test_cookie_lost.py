"""A sign-in whose cookie does not come back: the sign-in page says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiohttp import DummyCookieJar
from pytest_aiohttp import AiohttpClient

from stateroom.app import make_app

from ..conftest import ServiceClient
from ..servers import Servers

KEY = "A" * 43
DEMO = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}


class Answer(NamedTuple):
    status: int
    location: str
    text: str


class Browser:
    """Keeps the cookies that a browser would keep that opens `url`, a name on a plain-http or https address."""

    def __init__(self, client: ServiceClient, scheme: str, host: str) -> None:
        self._client, self._scheme, self._host = client, scheme, host
        self.cookies: dict[str, str] = {}

    async def call(self, method: str, path: str, data: dict[str, str] | None = None) -> Answer:
        headers = {
            "Host": self._host,
            "X-Forwarded-Proto": self._scheme,
            "X-Forwarded-For": "203.0.113.9",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        async with self._client.request(method, path, data=data, headers=headers, allow_redirects=False) as response:
            for line in response.headers.getall("Set-Cookie", ()):
                self._keep(line)
            return Answer(response.status, response.headers.get("Location", ""), await response.text())

    def _keep(self, line: str) -> None:
        """RFC 6265, section 5.3."""
        if line.endswith("; Partitioned"):  # it concerns none of those that this browser keeps
            return
        [(name, cookie)] = SimpleCookie(line).items()
        domain = cookie["domain"].lstrip(".")
        if cookie["secure"] and self._scheme == "http":
            return
        if domain and self._host != domain and not self._host.endswith(f".{domain}"):
            return
        if cookie["max-age"] == "0":
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = cookie.value


Open = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def open_browser(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> Open:
    async def make(scheme: str, host: str, **values: Any) -> Browser:
        settings = servers.service_settings(tmp_path, trusted_proxies=("127.0.0.1/32",), **values)
        client = await aiohttp_client(make_app(settings), cookie_jar=DummyCookieJar())
        return Browser(client, scheme, host)

    return make


@pytest.mark.parametrize(
    ("scheme", "values", "named"),
    [
        ("http", {"cookie_secure": True}, "COOKIE_SECURE"),
        ("https", {"cookie_secure": True, "cookie_domain": "example.org"}, "COOKIE_DOMAIN is example.org"),
        ("http", {"cookie_secure": False, "cookie_domain": "example.org"}, "COOKIE_DOMAIN is example.org"),
    ],
)
@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_the_sign_in_page_says_why_the_cookie_was_dropped(
    open_browser: Open, scheme: str, values: dict[str, Any], named: str, path: str
) -> None:
    browser = await open_browser(scheme, "sso.example.com", **values)
    assert "browser" not in (await browser.call("GET", "/login")).text
    if path == "/login":
        await browser.call("POST", "/register", DEMO)
        browser.cookies.clear()
    assert (await browser.call("POST", path, DEMO)).location == "/account"
    answer = await browser.call("GET", "/account")
    assert (answer.status, answer.location) == (303, "/login")
    text = (await browser.call("GET", "/login")).text
    assert "You signed in, but your browser" in text
    assert named in text


async def test_a_cookie_that_other_reasons_keep_away_is_named_too(open_browser: Open) -> None:
    browser = await open_browser("https", "sso.example.com", cookie_secure=True)
    await browser.call("POST", "/register", DEMO)
    browser.cookies = {name: value for name, value in browser.cookies.items() if name == "stateroom_signed_in"}
    assert "your browser did not keep the sign-in" in (await browser.call("GET", "/login")).text


async def test_who_is_sent_back_by_an_application_that_the_cookie_does_not_reach_is_told_so(open_browser: Open) -> None:
    app = "https://wiki.example.com/page"
    browser = await open_browser("https", "sso.example.com", cookie_secure=True, return_hosts=("wiki.example.com",))
    answer = await browser.call("POST", "/register", DEMO | {"rd": app})
    assert answer.location == app
    answer = await browser.call("GET", f"/login?rd={app}")  # forward auth of the application knows nobody
    assert answer.status == 200
    assert "set COOKIE_DOMAIN to a domain that contains wiki.example.com" in answer.text


async def test_where_the_cookie_reaches_the_application_nobody_is_stopped(open_browser: Open) -> None:
    app = "https://wiki.example.com/page"
    values = {"cookie_secure": True, "cookie_domain": "example.com", "return_hosts": ("wiki.example.com",)}
    browser = await open_browser("https", "sso.example.com", **values)
    await browser.call("POST", "/register", DEMO | {"rd": app})
    for _ in range(3):
        assert (await browser.call("GET", f"/login?rd={app}")).location == app


@pytest.mark.parametrize("app", ["/shop", "/", "/ssoo?a=/sso", "https://sso.example.com/shop", "https://wiki.example.com/sso-wiki"])
async def test_who_is_sent_back_by_a_path_that_the_cookie_does_not_reach_is_told_so(open_browser: Open, app: str) -> None:
    values = {"cookie_secure": True, "cookie_domain": "example.com", "cookie_path": "/sso", "return_hosts": ("wiki.example.com",)}
    browser = await open_browser("https", "sso.example.com", public_url="https://sso.example.com/sso", **values)
    answer = await browser.call("POST", "/sso/register", DEMO | {"rd": app})
    assert answer.location == app
    answer = await browser.call("GET", f"/sso/login?rd={quote(app)}")  # forward auth of the application knows nobody
    assert (answer.status, answer.location) == (200, "")
    assert "You signed in, but the page that you want to open can&#39;t see that." in answer.text
    assert "COOKIE_PATH is /sso" in answer.text


@pytest.mark.parametrize("app", ["/sso", "/sso/wiki?a=b", "/sso?a=b", "https://sso.example.com/sso/"])
async def test_where_the_path_of_the_cookie_reaches_the_application_nobody_is_stopped(open_browser: Open, app: str) -> None:
    values = {"cookie_secure": True, "cookie_path": "/sso", "public_url": "https://sso.example.com/sso"}
    browser = await open_browser("https", "sso.example.com", **values)
    await browser.call("POST", "/sso/register", DEMO | {"rd": app})
    for _ in range(3):
        assert (await browser.call("GET", f"/sso/login?rd={quote(app)}")).location == app


@pytest.mark.parametrize("app", ["/wiki", "https://wiki.example.com/page"])
async def test_a_circle_of_redirects_ends_before_the_browser_gives_up(open_browser: Open, app: str) -> None:
    """For example, the proxy does not pass the cookie to forward auth."""
    values = {"cookie_secure": True, "cookie_domain": "example.com", "return_hosts": ("wiki.example.com",)}
    browser = await open_browser("https", "sso.example.com", **values)
    await browser.call("POST", "/register", DEMO | {"rd": app})
    for _ in range(2):  # A user who tries again is told again.
        answers = [await browser.call("GET", f"/login?rd={quote(app)}")]
        while answers[-1].status == 303:
            answers.append(await browser.call("GET", f"/login?rd={quote(app)}"))
            assert len(answers) < 9
        assert "You signed in, but the page that you want to open doesn&#39;t see that." in answers[-1].text
        assert "check that the proxy passes the header Cookie on to forward auth" in answers[-1].text


async def test_a_sign_out_is_no_loss(open_browser: Open) -> None:
    browser = await open_browser("https", "sso.example.com", cookie_secure=True)
    await browser.call("POST", "/register", DEMO)
    await browser.call("GET", "/account")
    answer = await browser.call("POST", "/account/sign-out", {})
    for path in (answer.location, "/login"):
        assert "You signed in, but" not in (await browser.call("GET", path)).text


async def test_a_sign_out_by_the_api_is_no_loss(open_browser: Open) -> None:
    browser = await open_browser("https", "sso.example.com", cookie_secure=True)
    await browser.call("POST", "/register", DEMO)
    assert "stateroom_signed_in" in browser.cookies
    assert (await browser.call("POST", "/api/auth/logout")).status == 200
    assert "You signed in, but" not in (await browser.call("GET", "/login")).text


async def test_several_cookies_of_our_name_are_told_with_what_to_do(open_browser: Open) -> None:
    browser = await open_browser("https", "sso.example.com", cookie_secure=True, cookie_domain="example.com", session_name="sid")
    await browser.call("POST", "/register", DEMO | {"email": "eve@example.com"})
    planted = browser.cookies.pop("sid")
    await browser.call("POST", "/register", DEMO)
    browser.cookies["sid"] += f"; sid={planted}"
    text = (await browser.call("GET", "/login")).text
    assert "You signed in, but your browser has several old sign-ins of this site" in text
    assert "COOKIE_FORMER" in text
