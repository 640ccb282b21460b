"""A request of HTTP/1.0 may have no `Host`. No response names the address of this machine then."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from stateroom import Settings
from stateroom.app import make_app

from ..servers import Servers


async def raw(client: TestClient[web.Request, web.Application], request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(request.replace("\n", "\r\n").encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


REQUESTS = {
    "a page for users": "GET /account HTTP/1.0\nAccept: text/html\n\n",
    "under the prefix": "GET /.stateroom/account HTTP/1.0\nAccept: text/html\n\n",
    "the root": "GET / HTTP/1.0\nAccept: text/html\n\n",
    "the form": "POST /logout?rd=/x HTTP/1.0\nContent-Length: 0\n\n",
    "forward auth": (
        "GET /auth/forward HTTP/1.0\nAccept: text/html\nX-Forwarded-Method: GET\nX-Forwarded-Proto: http\nX-Forwarded-Uri: /x\n\n"
    ),
    "forward auth of nginx": "GET /auth/request HTTP/1.0\nAccept: text/html\nX-Original-URL: http:///x\nX-Original-Method: GET\n\n",
    "forward auth of Envoy": "GET /auth/ext-authz/x HTTP/1.0\nAccept: text/html\nX-Forwarded-Proto: http\n\n",
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("public_url", [None, "https://sso.example.com"])
async def test_no_response_names_this_machine(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient, name: str, public_url: str | None
) -> None:
    values = {"access_default": "signed-in", "trusted_proxies": "127.0.0.1", "public_url": public_url, "deployment": "test"}
    client = await aiohttp_client(make_app(servers.service_settings(tmp_path, **values)))
    answer = await raw(client, REQUESTS[name])
    head = answer.partition("\r\n\r\n")[0]
    assert head.startswith(("HTTP/1.0 ", "HTTP/1.1 "))
    assert not head.startswith("HTTP/1.0 5")
    for own in (socket.getfqdn(), socket.gethostname(), "127.0.0.1", f":{client.port}"):
        assert own not in answer
    for line in head.splitlines():
        if line.startswith("Location: "):
            assert line.removeprefix("Location: ").startswith(("/", "https://sso.example.com/"))


async def test_a_host_with_an_underscore_is_one(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    settings: Settings = servers.service_settings(tmp_path, access_default="signed-in", trusted_proxies="127.0.0.1")
    client = await aiohttp_client(make_app(settings))
    told = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "my_app.example.com",
        "X-Forwarded-Uri": "/x",
    }
    async with client.get("/auth/forward", headers={"Accept": "text/html", **told}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "https://my_app.example.com/login?rd=%2Fx")
