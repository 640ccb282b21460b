"""What a client claims of itself or of its request in the headers of proxies never reaches the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from .bypass.raw import send
from .bypass.search import street
from .shipped import COMMANDS

FORGED = "forged.test"
HOPS = ("Remote-User, Remote-Groups, Remote-Assertion", "close, X-Forwarded-For, X-Forwarded-Host", "keep-alive, Cookie, TE")
SOCKET = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
TRAILERS_PASS = ("HAProxy",)
"""They pass on what follows a chunked body as the client has sent it. HAProxy 3.2 or newer does not."""
CLAIMS = (
    "Forwarded", "X-Real-IP", "X-Rewrite-URL", "X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host",
    "X-Envoy-Original-Path", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "X-Forwarded-Path",
    "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Server", "X-Forwarded-By", "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
)  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("proxy", COMMANDS)
async def test_no_claim_of_a_client_reaches_the_application(proxy: str, tmp_path: Path) -> None:
    async with street(proxy, tmp_path) as made:
        for name in CLAIMS:
            raw = f"GET /open/ HTTP/1.1\r\nHost: app.test\r\n{name}: {FORGED}\r\n\r\n".encode()
            assert await send(made.port, raw, is_h2=False) == 200, name
            assert FORGED not in str(made.plain.arrived.pop().headers), name
        assert not made.plain.arrived


@pytest.mark.timeout(120)
@pytest.mark.parametrize("proxy", COMMANDS)
async def test_no_client_lets_a_server_behind_the_proxy_remove_headers(proxy: str, tmp_path: Path) -> None:
    """A proxy removes the headers that `Connection` names, and must not pass their names on (RFC 9110, section 7.6.1)."""
    async with street(proxy, tmp_path) as made:
        name, value = made.credentials["member"][0]
        for hops in HOPS:
            for upgrade in ("", "Upgrade, ", "Upgrade, HTTP2-Settings, "):
                lines = f"GET /open/ HTTP/1.1\r\nHost: app.test\r\n{name}: {value}\r\nConnection: {upgrade}{hops}\r\n{SOCKET}\r\n"
                assert await send(made.port, lines.encode(), is_h2=False) in {200, 400, 403}, hops
        assert made.plain.arrived
        for arrival in made.plain.arrived:
            named = {token.strip().lower() for each in arrival.values("connection") for token in each.split(",")}
            assert named <= {"close", "keep-alive", "upgrade"}, arrival


@pytest.mark.timeout(120)
@pytest.mark.parametrize("proxy", COMMANDS)
async def test_headers_after_the_body_do_not_reach_the_application(proxy: str, tmp_path: Path) -> None:
    async with street(proxy, tmp_path) as made:
        for announced in ("Trailer: Remote-User\r\nTE: trailers\r\n", ""):
            lines = f"POST /open/ HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n{announced}\r\n"
            body = f"3\r\nabc\r\n0\r\nRemote-User: {FORGED}\r\n\r\n"
            assert await send(made.port, f"{lines}{body}".encode(), is_h2=False) == 200
        assert len(made.plain.arrived) == 2
        assert not [line for arrival in made.plain.arrived for line in arrival.headers if FORGED in line]
        if proxy in TRAILERS_PASS:
            assert {line.lower() for line in made.plain.trailers} <= {f"remote-user: {FORGED}"}
        else:
            assert made.plain.trailers == []
