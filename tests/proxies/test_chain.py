"""Two real proxies in a row, as in docs/proxy-chains.md: nginx ends TLS, and behind it each proxy that asks us."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from yarl import URL

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..conftest import require_tool
from ..documents import page
from .cases import VISIT, echo
from .shipped import APPLICATION, ASKING, COMMANDS, LOOPBACK, PROXY, SHIPPED, STATEROOM, moved, nginx_command, started, with_host

PAGE = "proxy-chains.md"
HOST = "app.example.com"
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
_numbers = itertools.count(257)


class ToLoopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=LOOPBACK, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@dataclass
class Chain:
    """Both proxies. `url`: as users see it. `trust`: how a client knows the outer proxy."""

    url: str
    trust: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """A client with an address of its own, and a cookie jar."""
        number = next(_numbers)
        address = f"127.0.{number // 256}.{number % 256}"
        connector = aiohttp.TCPConnector(local_addr=(address, 0), resolver=ToLoopback(), ssl=self.trust)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield http, address

    async def answers(self) -> bool:
        async with self.client() as (http, _):
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{self.url}/.stateroom/api/auth/check") as answer:
                    return answer.status == 200
        return False


def blocks_of(heading: str) -> dict[str, str]:
    """The blocks below a heading of the page, by their language."""
    part = page(PAGE).partition(f"\n{heading}\n")[2].partition("\n##")[0]
    found = part.split("```")[1::2]
    return {language: block for language, _, block in (each.partition("\n") for each in found)}


def changed(text: str, diff: str) -> str:
    """The file with the changes of the page. Each line with `-` must be in it."""
    groups: list[tuple[str, list[str]]] = []
    for line in diff.splitlines():
        if line.startswith("-"):
            groups.append((line[1:], []))
        else:
            groups[-1][1].append(line[1:])
    for old, new in groups:
        lines = text.splitlines()
        assert old in lines, f"{old!r} is in no line"
        text = "\n".join(itertools.chain.from_iterable(new if each == old else [each] for each in lines)) + "\n"
    return text


def prepared(proxy: str, folder: Path, ports: dict[int, int], *, is_documented: bool) -> list[str]:
    """Copy the shipped files, with the changes of the page or without. Returns the command."""
    folder.mkdir()
    blocks = blocks_of(f"### {proxy}") if is_documented else {}
    for source in SHIPPED.iterdir():
        text = source.read_text(encoding="utf-8")
        is_main = source.name in {"nginx.conf", "Caddyfile", "traefik-routes.yml", "haproxy.cfg", "envoy.yaml"}
        if is_main and proxy.lower() in source.name.lower() + (" caddy" if source.name == "Caddyfile" else ""):
            if "diff" in blocks:
                text = changed(text, blocks["diff"])
            if "nginx" in blocks:
                text = blocks["nginx"] + text.replace("$scheme", "$client_scheme")
        text = moved(with_host(text, HOST), ports).replace("10.0.0.1", LOOPBACK).replace("/var/log/nginx", str(folder))
        (folder / source.name).write_text(text, encoding="utf-8")
    command = COMMANDS[proxy](folder, ports)
    if proxy == "Traefik" and is_documented:
        [option] = [word for word in page(PAGE).split("`") if word.startswith("--entryPoints.web")]
        command.append(option.replace("10.0.0.1", LOOPBACK))
    return command


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.asynccontextmanager
async def chained(
    proxy: str, folder: Path, ports: dict[int, int], authority: trustme.CA, outer: int, *, is_documented: bool
) -> AsyncIterator[Chain]:
    """Run both proxies."""
    certificate = authority.issue_cert(HOST)
    (folder / "outer").mkdir(parents=True)
    certificate.cert_chain_pems[0].write_to_path(folder / "app.pem")
    certificate.private_key_pem.write_to_path(folder / "app.key")
    server = blocks_of("## The outer proxy")["nginx"]
    for old, new in (
        ("listen 443 ssl", f"listen {LOOPBACK}:{outer} ssl"),
        ("/etc/ssl/", f"{folder}/"),
        ("10.0.0.2:8000", f"{LOOPBACK}:{ports[PROXY]}"),
    ):
        assert old in server
        server = server.replace(old, new)
    inner = prepared(proxy, folder / "inner", ports, is_documented=is_documented)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with started(inner, folder / "inner"), started(nginx_command(folder / "outer", server), folder / "outer"):
        chain = Chain(f"https://{HOST}:{outer}", trust)
        await until(chain.answers, "both proxies answer", seconds=30)
        yield chain


@contextlib.contextmanager
def service_behind(folder: Path, **settings: object) -> Iterator[Serving]:
    with Serving(
        folder, TRUSTED_PROXIES=",".join([LOOPBACK, *own_addresses()]), LOGIN_URL="/.stateroom/login",
        ACCESS_DEFAULT="signed-in", COOKIE_SECURE="true", LOGIN_ATTEMPTS_PER_ADDRESS=3, **settings,
    ) as service:  # fmt: skip
        yield service


def own_addresses() -> list[str]:
    """This machine's addresses. Envoy writes one of them in place of a loopback address."""
    return subprocess.check_output([require_tool("hostname"), "-I"], text=True).split()


@contextlib.asynccontextmanager
async def application() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def signs_in_by_form(http: aiohttp.ClientSession, chain: Chain) -> str:
    """Visit the application, sign in with the form as a browser does. Returns the cookie's header."""
    async with http.get(f"{chain.url}/reports?a=1", headers=VISIT, allow_redirects=False) as answer:
        assert answer.status == 302, answer
        location = answer.headers["Location"]
    assert location in {f"{origin}/.stateroom/login?rd=%2Freports%3Fa%3D1" for origin in ("", chain.url)}
    async with http.post(f"{chain.url}/api/auth/register", json=ADA) as answer:
        assert answer.status == 401  # this path is the application's
    own = f"{chain.url}/.stateroom"
    async with http.post(f"{own}/api/auth/register", json=ADA) as answer:
        assert answer.status in {201, 409}
    form = {"email": ADA["email"], "password": ADA["password"], "rd": f"{chain.url}/reports?a=1"}
    browser = {"Origin": chain.url, "Sec-Fetch-Site": "same-origin"}
    async with http.post(f"{own}/login", data=form, headers=browser, allow_redirects=False) as answer:
        assert (answer.status, answer.headers.get("Location")) == (303, f"{chain.url}/reports?a=1")
        cookie = next(each for each in answer.headers.getall("Set-Cookie") if each.startswith("__Host-session="))
    async with http.get(f"{chain.url}/reports?a=1", headers=VISIT, allow_redirects=False) as answer:
        assert answer.headers["X-Application"] == "yes"
    return cookie


async def comes_back_to(http: aiohttp.ClientSession, chain: Chain, path: str) -> None:
    """Visit this page of the application while signed out, and sign in with what the redirect names."""
    async with http.get(f"{chain.url}{path}", headers=VISIT, allow_redirects=False) as answer:
        assert answer.status == 302, answer
        location = URL(answer.headers["Location"], encoded=True)
    async with http.get(URL(chain.url).join(location)) as answer:
        assert answer.status == 200
    form = {"email": ADA["email"], "password": ADA["password"], "rd": location.query["rd"]}
    async with http.post(
        f"{chain.url}/.stateroom/login", data=form, headers={"Origin": chain.url}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers.get("Location")) == (303, path)


async def address_shown(http: aiohttp.ClientSession, chain: Chain) -> str:
    async with http.get(f"{chain.url}/.stateroom/api/sessions") as answer:
        [own] = [each for each in (await answer.json())["sessions"] if each["current"]]
        return str(own["ip_address"])


async def failure(http: aiohttp.ClientSession, chain: Chain) -> int:
    """The status of a failed sign-in, with an address that the client claims."""
    wrong = {"email": "nobody@example.com", "password": "wrong horse"}
    claims = {"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
    async with http.post(f"{chain.url}/.stateroom/api/auth/login", json=wrong, headers=claims) as answer:
        return answer.status


@pytest.mark.parametrize("proxy", list(COMMANDS))
async def test_each_client_has_its_own_address_and_the_scheme_is_https(tmp_path: Path, authority: trustme.CA, proxy: str) -> None:
    (tmp_path / "service").mkdir()
    with service_behind(tmp_path / "service") as service:
        async with application() as app_port:
            ports = {STATEROOM: service.port, APPLICATION: app_port, PROXY: free_port(), ASKING: free_port()}
            async with (
                chained(proxy, tmp_path / "chain", ports, authority, free_port(), is_documented=True) as chain,
                chain.client() as (ada, address), chain.client() as (eve, _),
            ):  # fmt: skip
                assert "; Secure" in await signs_in_by_form(ada, chain)
                assert await address_shown(ada, chain) == address
                async with chain.client() as (bob, _):
                    await comes_back_to(bob, chain, f"/reports?q={'x' * 7_500}")
                assert [await failure(eve, chain) for _ in range(4)] == [401, 401, 401, 429]
                assert await failure(ada, chain) == 401


@pytest.mark.parametrize("proxy", ["nginx", "Traefik", "HAProxy"])
async def test_the_public_url_wins_over_a_proxy_that_says_http(tmp_path: Path, authority: trustme.CA, proxy: str) -> None:
    outer = free_port()
    (tmp_path / "service").mkdir()
    with service_behind(tmp_path / "service", PUBLIC_URL=f"https://{HOST}:{outer}") as service:
        async with application() as app_port:
            ports = {STATEROOM: service.port, APPLICATION: app_port, PROXY: free_port(), ASKING: free_port()}
            async with (
                chained(proxy, tmp_path / "chain", ports, authority, outer, is_documented=False) as chain,
                chain.client() as (ada, _),
            ):
                assert "; Secure" in await signs_in_by_form(ada, chain)
