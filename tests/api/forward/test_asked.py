"""Which request a proxy asks about. Only one proxy's headers are read, and only a trusted proxy's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stateroom.accounts.access import ACCESS, Asked

from ...conftest import ServiceClient
from ...servers import Servers
from .asking import ENDPOINTS, ENVOY, FORWARD, NGINX, ORIGIN, PAGE, ask, path_of, register, running, told
from .conftest import RuleThat

pytestmark = pytest.mark.usefixtures("counted_ids")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_the_rules_are_asked_about_the_request_as_it_was_sent(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    seen = rule(anyone=True)
    for url, asked in {
        f"{ORIGIN}/a%2Fb/../c;d=1?e=%20&f=a,b": f"{ORIGIN} /a%2Fb/../c;d=1?e=%20&f=a,b",
        f"{ORIGIN}/../../login": f"{ORIGIN} /../../login",
        f"{ORIGIN}/%2e%2e/%2e%2e/login": f"{ORIGIN} /%2e%2e/%2e%2e/login",
        f"{ORIGIN}//doubled///slashes/./": f"{ORIGIN} //doubled///slashes/./",
        "HTTPS://APP.example.com:443/Login": f"{ORIGIN} /Login",
        "http://app.example.com:8080/": "http://app.example.com:8080 /",
        "wss://app.example.com/socket": f"{ORIGIN} /socket",
        "https://a_b.example.com./x": "https://a_b.example.com. /x",
    }.items():
        for method in ("GET", "PROPFIND") if endpoint == ENVOY else ("GET", "DELETE", "get"):
            if endpoint == ENVOY:
                lines = [f"{name}: {value}".encode() for name, value in told(ENVOY, url).items()]
                answer = await exchange(client, f"{method} {ENVOY}{path_of(url)} HTTP/1.1".encode(), *lines)
                assert answer.startswith(b"HTTP/1.1 200 OK"), url
            else:
                assert (await ask(client, endpoint, url=url, method=method)).status == 200, url
            origin, path = asked.split(" ")
            assert seen.pop() == Asked(method, origin, path, None)
    assert seen == []


async def exchange(client: ServiceClient, *lines: bytes) -> bytes:
    """Send a request that no client library would send. Returns the answer."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_the_client_is_the_one_that_the_proxy_names(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    seen = rule(anyone=True)
    await ask(client, endpoint, {"X-Forwarded-For": "192.0.2.7"})
    assert [each.address for each in seen] == ["192.0.2.7"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_rule_for_the_proxys_network_is_not_for_clients_that_it_does_not_name(
    servers: Servers, tmp_path: Path, endpoint: str
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- {name: office, hosts: [app.example.com], networks: [127.0.0.0/8], allow: signed-in}\n")
    async with running(servers, tmp_path, access_rules_file=rules) as client:
        await register(client)
        for named, status in {"127.0.0.5": 200, "unknown": 403, "": 403}.items():
            assert (await ask(client, endpoint, {"X-Forwarded-For": named})).status == status, named
        assert (await ask(client, endpoint)).status == 403


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_what_an_untrusted_peer_tells_does_not_count(servers: Servers, tmp_path: Path, endpoint: str) -> None:
    async with running(servers, tmp_path, trusted_proxies="192.0.2.0/24") as client:
        await register(client)
        answer = await ask(client, endpoint, PAGE)
        assert answer.status == 403
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("endpoint", "missing"),
    [
        (NGINX, "X-Original-URL"), (NGINX, "X-Original-Method"), (FORWARD, "X-Forwarded-Proto"), (FORWARD, "X-Forwarded-Host"),
        (FORWARD, "X-Forwarded-Uri"), (FORWARD, "X-Forwarded-Method"), (ENVOY, "X-Forwarded-Proto"),
    ],
)  # fmt: skip
async def test_a_request_that_is_not_told_whole_is_denied(client: ServiceClient, endpoint: str, missing: str) -> None:
    await register(client)
    sent = told(endpoint)
    own = sent.pop(missing)
    path = f"{ENVOY}/reports" if endpoint == ENVOY else endpoint
    for values in ([], [""], [own, f"{own}x"], ["J\u00f6 @"]):
        headers = [*sent.items(), *((missing, value) for value in values)]
        async with client.get(path, headers=headers, allow_redirects=False) as response:
            assert response.status == 403, values
            assert "FORWARD_AUTH_PROXY" in await response.text()
            assert response.headers["Remote-User"] == ""
    async with client.get(path, headers=[*sent.items(), (missing, own), (missing, own)]) as response:
        assert response.status == 200, "twice the same is no contradiction"


async def test_a_list_of_different_hosts_tells_none(client: ServiceClient) -> None:
    """Some proxies append their own value to the client's."""
    await register(client)
    for listed, status in {
        "app.example.com, evil.example": 403,
        "evil.example,a.example": 403,
        "a.example, a.example": 200,
    }.items():
        headers = told(FORWARD) | {"X-Forwarded-Host": listed}
        async with client.get(FORWARD, headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize("endpoint", [FORWARD, ENVOY])
async def test_another_proxys_headers_are_not_read(client: ServiceClient, rule: RuleThat, endpoint: str) -> None:
    seen = rule(anyone=True)
    forged = told(NGINX, "https://evil.example/open", "HEAD")
    if endpoint == ENVOY:
        forged |= {"X-Forwarded-Host": "evil.example", "X-Forwarded-Uri": "/open", "X-Forwarded-Method": "HEAD"}
    await ask(client, endpoint, forged, url=f"{ORIGIN}/x", method="POST")
    assert seen == [Asked("POST", ORIGIN, "/x", None)]
    seen.clear()
    forged = told(FORWARD, "https://evil.example/open", "HEAD")
    await ask(client, NGINX, forged, url=f"{ORIGIN}/x", method="POST")
    assert seen == [Asked("POST", ORIGIN, "/x", None)]


@pytest.mark.parametrize(
    ("proxy", "endpoint"), [("nginx", NGINX), ("traefik", FORWARD), ("caddy", FORWARD), ("haproxy", FORWARD), ("envoy", ENVOY)]
)
async def test_the_setting_says_whose_headers_count_at_every_endpoint(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, endpoint: str
) -> None:
    async with running(servers, tmp_path, forward_auth_proxy=proxy) as client:
        assert client.app is not None
        seen: list[Asked] = []
        access = client.app[ACCESS]
        decide = access.rule_for

        def rule_for(asked: Asked) -> Any:
            seen.append(asked)
            return decide(asked)

        monkeypatch.setattr(access, "rule_for", rule_for)
        await ask(client, endpoint, told(FORWARD if endpoint == NGINX else NGINX, "https://evil.example/"), url=f"{ORIGIN}/x")
        assert seen == [Asked("GET", ORIGIN, "/x", None)]
        seen.clear()
        # nginx fetches the page for a refusal from the endpoint that has pages.
        other = FORWARD if endpoint == NGINX else NGINX
        async with client.get(other, headers=told(endpoint, f"{ORIGIN}/x")) as response:
            await response.read()
        assert seen == ([] if endpoint == ENVOY else [Asked("GET", ORIGIN, "/x", None)])


async def test_the_public_address_counts_more_than_what_an_inner_proxy_sees(servers: Servers, tmp_path: Path) -> None:
    """TLS ends at an outer proxy."""
    async with running(servers, tmp_path, public_url="https://app.example.com", login_url="/.stateroom/login") as client:
        for endpoint in ENDPOINTS:
            answer = await ask(client, endpoint, PAGE, url="http://app.example.com/x")
            assert answer.location == (f"{ORIGIN}/.stateroom/login", ["/x"])
            answer = await ask(client, endpoint, PAGE, url="http://other.example.com/x")
            assert answer.location == ("http://other.example.com/.stateroom/login", ["/x"])


async def test_bytes_that_are_not_ascii_are_encoded(client: ServiceClient, rule: RuleThat) -> None:
    """An application decodes both to the same."""
    seen = rule(anyone=True)
    lines = [f"{name}: {value}".encode() for name, value in told(FORWARD).items() if name != "X-Forwarded-Uri"]
    lines += [b"Host: here", b"X-Forwarded-Uri: /J\xc3\xb6\xff?\xc3\xb6"]
    assert (await exchange(client, b"GET /auth/forward HTTP/1.1", *lines)).startswith(b"HTTP/1.1 200 OK")
    assert [each.path for each in seen] == ["/J%C3%B6%FF?%C3%B6"]


async def test_a_question_without_a_host_is_no_error(client: ServiceClient) -> None:
    """HTTP/1.0, of a proxy that asks as Envoy does."""
    answer = await exchange(client, b"GET /auth/ext-authz/reports HTTP/1.0", b"X-Forwarded-Proto: https", b"Accept: text/html")
    assert answer.startswith(b"HTTP/1.0 403 Forbidden")
    assert b"Location" not in answer
