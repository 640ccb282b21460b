"""What a client claims of itself or of its request in the headers of proxies never reaches the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from .bypass.raw import send
from .bypass.search import street
from .shipped import COMMANDS

FORGED = "forged.test"
CLAIMS = (
    "Forwarded", "X-Real-IP", "X-Rewrite-URL", "X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host",
    "X-Envoy-Original-Path", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "X-Forwarded-Path",
    "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Server", "X-Forwarded-By", "X-Forwarded-User",
    "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
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
