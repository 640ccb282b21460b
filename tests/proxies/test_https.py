"""The shipped files with TLS in the proxy itself, changed as docs/forward-auth.md says under "With https"."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from .bypass.plain import plain_application
from .shipped import APPLICATION, COMMANDS, PROXY, STATEROOM, running, with_host

HOST = "app.test"
CHANGES = {
    "nginx": [("listen 127.0.0.1:8000;", "listen 127.0.0.1:8000 ssl; ssl_certificate FILE; ssl_certificate_key FILE;")],
    "Caddy": [
        ("auto_https off", "auto_https disable_redirects"),  # else it listens on port 80
        (f"http://127.0.0.1:8000, http://{HOST}:8000 {{", f"https://{HOST}:8000 {{\n\ttls FILE FILE"),
        ("http://:8000 {", "https://:8000 {"),
    ],
    "Traefik": [
        ("responseHeaderTimeout: 2s}\n", "responseHeaderTimeout: 2s}\ntls: {certificates: [{certFile: FILE, keyFile: FILE}]}\n")
    ],
    "HAProxy": [("bind 127.0.0.1:8000", "bind 127.0.0.1:8000 ssl crt FILE alpn h2,http/1.1")],
}
VISIT = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("proxy", CHANGES)
async def test_the_sign_in_is_at_https_and_other_hosts_are_refused(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, trusting, file = trustme.CA(), ssl.create_default_context(), tmp_path / "host.pem"
    authority.configure_trust(trusting)
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(file))

    def with_tls(text: str) -> str:
        text = with_host(text, HOST)
        for old, new in CHANGES[proxy]:
            text = text.replace(old, new.replace("FILE", str(file)))
        return text

    command, option = COMMANDS[proxy], ["--entryPoints.web.http.tls=true"] if proxy == "Traefik" else []
    monkeypatch.setitem(COMMANDS, proxy, lambda folder, ports: [*command(folder, ports), *option])
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "ACCESS_DEFAULT": "signed-in", "LOGIN_URL": "/.stateroom/login"}
    with Serving(tmp_path, **settings) as service:
        async with plain_application() as application, aiohttp.ClientSession() as http:
            ports = {STATEROOM: service.port, APPLICATION: application.port, PROXY: free_port()}

            async def visit(host: str) -> tuple[int, str]:
                url = f"https://127.0.0.1:{ports[PROXY]}/page?a=1"
                headers = VISIT | {"Host": host}
                async with http.get(url, headers=headers, ssl=trusting, server_hostname=HOST, allow_redirects=False) as answer:
                    return answer.status, answer.headers.get("Location", "")

            async def is_up() -> bool:
                try:
                    return (await visit(HOST))[0] == 302
                except aiohttp.ClientError:
                    return False

            async with running(proxy, tmp_path / "proxy", ports, change=with_tls):
                await until(is_up, f"{proxy} answers", seconds=30)
                assert await visit(HOST) == (302, f"https://{HOST}/.stateroom/login?rd=%2Fpage%3Fa%3D1")
                assert (await visit("other.test"))[0] == 421
