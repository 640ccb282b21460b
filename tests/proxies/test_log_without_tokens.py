"""No log of a proxy has the token of a mailed link: the shipped configurations, and the nginx example of docs/accounts.md."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from ..documents import examples
from .shipped import APPLICATION, COMMANDS, PROXY, STATEROOM, nginx_command, running, started
from .test_ten_lines import listens

ROOT = Path(__file__).parents[2]
LINKS = ("/verify", "/reset", "/invitation")
OWN = "/.stateroom"
"""What the shipped configurations send to Stateroom."""
UNLOGGED = {"Traefik"}
"""These proxies do not log requests of Stateroom's pages."""


@pytest.mark.parametrize("proxy", COMMANDS)
async def test_a_shipped_configuration_logs_no_token(proxy: str, serving: Serving, tmp_path: Path) -> None:
    folder = tmp_path / proxy
    ports = {STATEROOM: serving.port, APPLICATION: free_port(), PROXY: free_port()}
    async with running(proxy, folder, ports):
        misdirected = await visit_links(ports[PROXY], OWN, host="other.example.com")
        statuses = await visit_links(ports[PROXY], OWN)
        await until(lambda: has_logged(folder, proxy), f"{proxy} has logged the requests")
    assert (misdirected, statuses) == ([421] * 5, [200] * 5)
    assert "A-secret" not in logs(folder)


@pytest.mark.parametrize("proxy", COMMANDS)
async def test_a_shipped_configuration_logs_no_token_while_stateroom_is_unavailable(proxy: str, tmp_path: Path) -> None:
    folder = tmp_path / proxy
    ports = {STATEROOM: free_port(), APPLICATION: free_port(), PROXY: free_port()}
    async with running(proxy, folder, ports):
        statuses = await visit_links(ports[PROXY], OWN)
        await until(lambda: has_logged(folder, proxy), f"{proxy} has logged the requests")
    assert set(statuses) <= {502, 503}
    assert "A-secret" not in logs(folder)


async def test_the_nginx_of_the_stack_logs_no_token_while_stateroom_is_unavailable(tmp_path: Path) -> None:
    port = free_port()
    text = (ROOT / "deploy/nginx/nginx.conf").read_text(encoding="utf-8").replace("/tmp/", f"{tmp_path}/")
    text = re.sub(r"stateroom-[01]:8080", f"127.0.0.1:{free_port()}", text).replace("listen 8080", f"listen 127.0.0.1:{port}")
    program = nginx_command(tmp_path, "")[0]
    (tmp_path / "stack.conf").write_text(f"daemon off;\n{text}", encoding="utf-8")
    async with started([program, "-p", str(tmp_path), "-c", str(tmp_path / "stack.conf")], tmp_path):
        statuses = [status for prefix in ("", OWN, "/sso", "/a/b") for status in await visit_links(port, prefix)]
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/elsewhere"):
            await until(lambda: mentions(tmp_path, "/elsewhere"), "nginx has logged a failure")
    assert set(statuses) == {502}
    assert "A-secret" not in logs(tmp_path)


async def visit_links(port: int, prefix: str = "", host: str = "127.0.0.1") -> list[int]:
    """Open each page with a token, the sign-in with a way back to one, and a page of the application.

    `prefix`: what the paths of Stateroom begin with.
    """
    await until(lambda: has_routes(port), "the proxy listens and has its routes", seconds=30)
    statuses = []
    async with aiohttp.ClientSession(headers={"Host": host}) as http:
        for path in LINKS:
            async with http.get(f"http://127.0.0.1:{port}{prefix}{path}?token=A-secret") as response:
                statuses.append(response.status)
        async with http.get(f"http://127.0.0.1:{port}{prefix}/login", params={"rd": f"{prefix}/verify?token=A-secret"}) as response:
            statuses.append(response.status)
        async with http.get(f"http://127.0.0.1:{port}{prefix}/forgot") as response:
            statuses.append(response.status)
        async with http.get(f"http://127.0.0.1:{port}/elsewhere") as response:
            await response.read()
    return statuses


async def has_routes(port: int) -> bool:
    """Traefik listens before it has read its routes, and responds with 404 until then."""
    if not await listens(port):
        return False
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/elsewhere") as response:
        return response.status != 404


def logs(folder: Path) -> str:
    """What the proxy wrote: its output and the log files."""
    return "\n".join(file.read_text(encoding="utf-8") for file in (folder / "log", *folder.glob("*.log")))


async def mentions(folder: Path, text: str) -> bool:
    return text in logs(folder)


async def has_logged(folder: Path, proxy: str) -> bool:
    written = logs(folder)
    return all(path in written for path in (["/elsewhere"] if proxy in UNLOGGED else LINKS))


async def test_nginx_logs_the_pages_of_mailed_links_without_their_tokens(serving: Serving, tmp_path: Path) -> None:
    [example] = examples("accounts.md", "nginx")
    log, port = tmp_path / "own.log", free_port()
    log_format, access_log = example.replace("/var/log/nginx/access.log", str(log)).splitlines()
    # In the block http of the test, the log is off.
    server = f"server {{ {access_log} listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{serving.port}; }} }}"
    configuration = f"{log_format}\n{server}"
    async with started(nginx_command(tmp_path, configuration), tmp_path), aiohttp.ClientSession() as http:
        await until(lambda: listens(port), "nginx listens")
        for page in ("verify", "reset", "invitation"):
            async with http.get(f"http://127.0.0.1:{port}/{page}?token=A-secret") as response:
                await response.read()
        await until(lambda: has_lines(log, 3), "nginx has logged the requests")
    text = log.read_text(encoding="utf-8")
    for page in ("verify", "reset", "invitation"):
        assert f'"GET /{page} HTTP/1.1"' in text
    assert "A-secret" not in text


async def has_lines(log: Path, count: int) -> bool:
    return len(log.read_text(encoding="utf-8").splitlines()) >= count
