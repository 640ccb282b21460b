"""How each proxy asks Stateroom about a request to an application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDictProxy
from yarl import URL

from stateroom.accounts import ACCOUNTS
from stateroom.app import make_app

from ...conftest import ServiceClient
from ...patience import settled
from ...servers import Servers

ORIGIN = "https://app.example.com"
URL_ASKED = f"{ORIGIN}/reports?year=2026,27&x=/"
FORWARD, NGINX, ENVOY = ENDPOINTS = "/auth/forward", "/auth/request", "/auth/ext-authz"
PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
IDENTITY = (
    "Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "Remote-Session-Degraded", "Remote-Assertion",
)  # fmt: skip
NOBODY = ["", "", "", "", "", ""]
SETTINGS: dict[str, Any] = {"trusted_proxies": "127.0.0.1/32", "access_default": "signed-in"}
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}


class Answer(NamedTuple):
    """What the proxy got."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def identity(self) -> list[str | None]:
        """The headers that name the user; None for one that is missing."""
        return [self.headers.get(name) for name in IDENTITY]

    @property
    def problem(self) -> str:
        """The kind of the problem document."""
        return str(msgspec.json.decode(self.body)["type"]).removeprefix("urn:stateroom:problem:")

    @property
    def location(self) -> tuple[str, list[str]]:
        """The address that a redirect leads to, without its query, and its `rd`."""
        parts = urlsplit(self.headers["Location"])
        return parts._replace(query="").geturl(), parse_qs(parts.query).get("rd", [])


@contextlib.asynccontextmanager
async def running(servers: Servers, folder: Path, **settings: Any) -> AsyncIterator[ServiceClient]:
    """A client of the service, which trusts it as a proxy, and admits every signed-in user."""
    app = make_app(servers.service_settings(folder, **(SETTINGS | settings)))
    async with TestClient(TestServer(app)) as client:
        await settled(app)
        yield client


def told(endpoint: str, url: str = URL_ASKED, method: str = "GET") -> dict[str, str]:
    """The headers in which the proxy of this endpoint tells the request."""
    parts = urlsplit(url)
    if endpoint == NGINX:
        return {"X-Original-URL": url, "X-Original-Method": method}
    if endpoint == ENVOY:
        return {"X-Forwarded-Proto": parts.scheme, "Host": parts.netloc}
    return {
        "X-Forwarded-Proto": parts.scheme, "X-Forwarded-Host": parts.netloc, "X-Forwarded-Uri": path_of(url),
        "X-Forwarded-Method": method,
    }  # fmt: skip


def path_of(url: str) -> str:
    """The path and query, as they are written."""
    return "/" + url.split("/", 3)[3]


async def ask(
    client: ServiceClient,
    endpoint: str,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    url: str = URL_ASKED,
    method: str = "GET",
    by: str = "GET",
) -> Answer:
    """Ask as the proxy of this endpoint. `method`, `url`: of the request to the application. `by`: the method of the question."""
    sent = [*told(endpoint, url, method).items(), *(headers.items() if isinstance(headers, dict) else headers or ())]
    path = endpoint
    if endpoint == ENVOY:
        path, by = ENVOY + path_of(url), method
    async with client.request(by, URL(path, encoded=True), headers=sent, allow_redirects=False) as response:
        return Answer(response.status, response.headers, await response.read())


async def register(client: ServiceClient, *, is_proved: bool = True, **changes: str) -> None:
    """Sign a new user up. `is_proved`: the address is proved afterwards, as by a mailed link."""
    async with client.post("/api/auth/register", json=ADA | changes) as response:
        assert response.status == 201
        user = (await response.json())["user"]
    if is_proved:
        await prove(client, user["id"], user["email"])


async def prove(client: ServiceClient, user_id: int, email: str) -> None:
    """Prove an address in this process, as its owner does by a mailed link."""
    assert client.app is not None
    accounts = client.app[ACCOUNTS]
    assert await accounts.users.verify(user_id, email)
    await accounts.get(user_id)


def cookie_of(client: ServiceClient) -> str:
    """The session cookie of the client's jar, which it keeps."""
    [value] = [each.value for each in client.session.cookie_jar if each.key == "session_id"]
    return value
