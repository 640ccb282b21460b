"""Two real proxies in a row: redirects, cookies, the limits of two clients, and what a client claims of its request."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from stateroom.drills.ports import free_port

from ..commands import Serving
from ..conftest import require_tool
from .cases import VISIT, echo
from .chain import HOST, Chain, chained
from .shipped import APPLICATION, ASKING, COMMANDS, LOOPBACK, PROXY, STATEROOM

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
RULES = f"""\
- name: open
  hosts: [{HOST}]
  paths: [/open]
  methods: [OPTIONS]
  allow: anyone
- name: the rest
  hosts: [{HOST}]
  allow: signed-in
- name: status
  hosts: [status.example.com]
  allow: anyone
"""
CLAIMS = {
    "X-Forwarded-Host": "status.example.com", "X-Forwarded-Uri": "/open", "X-Forwarded-Method": "OPTIONS",
    "X-Original-URL": "https://status.example.com/", "X-Original-Method": "OPTIONS", "Forwarded": "host=status.example.com",
}  # fmt: skip

ANOTHER_HOST = {"nginx": 421, "Caddy": 200}
"""The status for a host that no file names. The outer Caddy answers such a request itself, with nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.contextmanager
def service_behind(folder: Path, **settings: object) -> Iterator[Serving]:
    rules = folder / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    with Serving(
        folder, TRUSTED_PROXIES=",".join([LOOPBACK, *own_addresses()]), LOGIN_URL="/.stateroom/login",
        ACCESS_RULES_FILE=rules, COOKIE_SECURE="true", LOGIN_ATTEMPTS_PER_ADDRESS=3, **settings,
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


async def refusals_of_claims(http: aiohttp.ClientSession, chain: Chain) -> set[int]:
    """The statuses for a client that is signed out, and says that it asks for something that is open."""
    pairs = [dict(pair) for pair in itertools.combinations(CLAIMS.items(), 2)]
    return {await _refusal(http, f"{chain.url}/x", claims) for claims in (*pairs, CLAIMS)}


async def _refusal(http: aiohttp.ClientSession, url: str, claims: dict[str, str]) -> int:
    async with http.get(url, headers=claims) as answer:
        assert "X-Application" not in answer.headers, claims
        return answer.status


@pytest.mark.parametrize("outer", ["nginx", "Caddy"])
@pytest.mark.parametrize("proxy", list(COMMANDS))
async def test_each_client_has_its_own_address_and_the_scheme_is_https(
    tmp_path: Path, authority: trustme.CA, proxy: str, outer: str
) -> None:
    (tmp_path / "service").mkdir()
    with service_behind(tmp_path / "service") as service:
        async with application() as app_port:
            ports = {STATEROOM: service.port, APPLICATION: app_port, PROXY: free_port(), ASKING: free_port()}
            async with (
                chained(
                    proxy, tmp_path / "chain", ports, authority, free_port(), is_documented=True, outer_proxy=outer
                ) as chain,
                chain.client() as (ada, address), chain.client() as (eve, _),
            ):  # fmt: skip
                assert "; Secure" in await signs_in_by_form(ada, chain)
                assert await address_shown(ada, chain) == address
                async with chain.client() as (bob, _):
                    await comes_back_to(bob, chain, f"/reports?q={'x' * 7_500}")
                assert await refusals_of_claims(eve, chain) <= {400, 401, 403, 421}
                assert await _refusal(eve, f"{chain.url}/x", {"Host": "status.example.com"}) == ANOTHER_HOST[outer]
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
