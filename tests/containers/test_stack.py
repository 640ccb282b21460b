"""Runs the stack of `docker-compose.sentinel.yml`: starts it, uses it, drills it and removes it.

It runs with podman, on images made of Debian's packages. It needs root, podman, runc, netavark, aardvark-dns, iptables and
debootstrap (`.ci/run` installs them). The first run takes minutes to make the images. Grafana is left out, because Debian
has no package of it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..conftest import do_without, require_tool
from .images import environment, make_images
from .stack import Stack

TOOLS = ("podman", "runc", "iptables", "debootstrap", "/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns")
ADA = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for tool in TOOLS:
        require_tool(tool)
    if os.geteuid() != 0:
        do_without("root")
    make_images()
    made = Stack("stateroom-test", tmp_path_factory.mktemp("stack") / "secrets", free_port(), network="10.203.8")
    made.down()  # Remove what a killed run has left behind.
    try:
        made.up()
        yield made
    finally:
        made.down()


async def call(http: aiohttp.ClientSession, stack: Stack, method: str, path: str, body: object = None) -> tuple[int, object]:
    async with http.request(method, f"{stack.url}{path}", json=body) as response:
        return response.status, await response.json(content_type=None) if "json" in response.content_type else None


async def test_people_sign_in_through_nginx(stack: Stack) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with http.post(f"{stack.url}/api/auth/register", json=ADA) as response:
            assert response.status == 201
            set_cookie = response.headers["Set-Cookie"]
            assert set_cookie.startswith("__Host-session=")
            assert "Secure" in set_cookie
        for _ in range(6):  # Either of the two may answer.
            async with http.get(f"{stack.url}/api/sessions", headers={"Cookie": set_cookie.split(";")[0]}) as response:
                [session] = (await response.json())["sessions"]
                assert session["current"]
        for path, status in (("/metrics", 404), ("/readyz", 200)):
            assert (await call(http, stack, "GET", path))[0] == status


def test_only_nginx_is_published(stack: Stack) -> None:
    listed = stack.podman("ps", "--filter", f"label=com.docker.compose.project={stack.project}", "--format", "{{.Ports}}")
    assert [line for line in listed.stdout.splitlines() if line.strip()] == [f"127.0.0.1:{stack.http_port}->8080/tcp"]


@pytest.mark.parametrize("service", ["redis-0", "sentinel-1", "stateroom-0", "nginx", "prometheus", "postgres"])
def test_containers_are_nobody_with_nothing_to_write_to(stack: Stack, service: str) -> None:
    container = f"{stack.project}_{service}_1"
    script = "id -u; touch /x 2>/dev/null && echo written; grep CapEff /proc/self/status"
    user, *rest = stack.podman("exec", container, "sh", "-c", script).stdout.split()
    assert int(user) != 0
    assert rest == ["CapEff:", "0000000000000000"]


def test_prometheus_reaches_both_and_knows_its_rules(stack: Stack) -> None:
    ask = "import json,urllib.request as r; print(r.urlopen('http://prometheus:9090/api/v1/{}').read().decode())"

    def told(path: str) -> str:
        return stack.podman("exec", f"{stack.project}_stateroom-0_1", "python3", "-c", ask.format(path)).stdout

    async def is_up() -> bool:
        return '"1"]' in told("query?query=sum(up%7Bjob=%22stateroom%22%7D)==bool%202")

    asyncio.run(until(is_up, "Prometheus has scraped both", seconds=60))
    assert "StateroomRedisDown" in told("rules")


@pytest.mark.parametrize("scenario", ["kill-primary", "pause-primary", "cut-off-primary"])
def test_nobody_notices_that_the_primary_is_gone(stack: Stack, scenario: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stateroom.drills.compose", scenario, "--url", stack.url, "--project", stack.project]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{scenario}: passed" in done.stdout
