"""Two applications behind one proxy, each with its own host: nobody reaches one of them by the rule of the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stateroom.drills.node import until
from stateroom.drills.ports import free_port

from ..commands import Serving
from .bypass.judge import hosts_of
from .bypass.plain import Plain, plain_application
from .bypass.raw import h2, send
from .shipped import APPLICATION, COMMANDS, PROXY, SECOND, STATEROOM, running, with_host, with_second

STAFF, STATUS = "app.test", "status.test"
RULES = f"""\
- name: greeting
  hosts: [{STAFF}]
  paths: [/hello]
  allow: anyone
- name: staff
  hosts: [{STAFF}]
  allow: {{groups: [staff]}}
- name: status
  hosts: [{STATUS}]
  allow: anyone
"""
SPELLINGS = ("{}", "{}:80", "{}:8000", "{}:", "{}.", "{}.:80", "{}..", " {} ", "x@{}", "{},{other}", "{} {other}", "{other}@{}", "")
"""Of a host, also with the other one in it."""
CLAIMS = ("X-Forwarded-Host", "X-Original-Host", "X-Host", "Forwarded", "X-Original-URL", "X-Forwarded-Uri", "Host")
"""Headers with the other host."""


@dataclass
class Two:
    """A proxy with both applications behind it."""

    port: int
    staff: Plain
    status: Plain

    async def ask(self, *lines: str) -> int:
        return await send(self.port, "\r\n".join([*lines, "", ""]).encode(), is_h2=False)

    async def ask_h2(self, path: str, *headers: tuple[str, str]) -> int:
        sent = [(":method", "GET"), (":scheme", "http"), (":path", path), *headers]
        return await send(self.port, h2([(name.encode(), value.encode()) for name, value in sent]), is_h2=True)

    def forget(self) -> None:
        self.staff.arrived.clear()
        self.status.arrived.clear()


@pytest.fixture(params=COMMANDS)
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "ACCESS_RULES_FILE": rules, "LOGIN_URL": "/.stateroom/login"}
    async with contextlib.AsyncExitStack() as stack:
        staff, status = [await stack.enter_async_context(plain_application()) for _ in range(2)]
        service = stack.enter_context(Serving(tmp_path, **settings))
        ports = {STATEROOM: service.port, APPLICATION: staff.port, SECOND: status.port, PROXY: free_port()}
        folder = tmp_path / "proxy"
        await stack.enter_async_context(
            running(request.param, folder, ports, change=lambda text: with_second(with_host(text, STAFF), STATUS))
        )
        made = Two(ports[PROXY], staff, status)

        async def is_up() -> bool:
            return await made.ask("GET /hello HTTP/1.1", f"Host: {STAFF}") == 200

        await until(is_up, f"{request.param} answers", seconds=30)
        made.forget()
        yield made


@pytest.mark.timeout(120)
async def test_each_host_leads_to_its_own_application(two: Two) -> None:
    for version in ("HTTP/1.1", "HTTP/2"):
        for host, path, plain in ((STAFF, "/hello", two.staff), (STATUS, "/hello", two.status), (STATUS, "/x", two.status)):
            for sent in (host, host.upper(), f"{host}:8000"):
                answered = (
                    two.ask_h2(path, (":authority", sent))
                    if version == "HTTP/2"
                    else two.ask(f"GET {path} {version}", f"Host: {sent}")
                )
                assert await answered == 200, (version, sent, path)
                assert [len(each.arrived) for each in (plain, two.staff, two.status)].count(1) == 2, (version, sent, path)
                two.forget()
    assert await two.ask("GET /x HTTP/1.1", f"Host: {STAFF}", "Accept: */*") == 401


@pytest.mark.timeout(120)
async def test_nobody_reaches_the_staff_by_the_rule_of_the_other_host(two: Two) -> None:
    for host, other in ((STATUS, STAFF), (STAFF, STATUS)):
        asked: list[Awaitable[int]] = []  # all at once: Envoy takes seconds for some of them
        for spelling in SPELLINGS:
            odd = spelling.format(host, other=other)
            asked.append(two.ask("GET /x HTTP/1.1", f"Host: {odd}"))
            asked.append(two.ask("GET /x HTTP/1.0", f"Host: {odd}"))
            asked.append(two.ask(f"GET http://{odd}/x HTTP/1.1", f"Host: {other}"))
            asked.append(two.ask(f"GET http://{other}/x HTTP/1.1", f"Host: {odd}"))
            asked.append(two.ask(f"GET http://{odd}/x HTTP/1.0"))
            asked.append(two.ask_h2("/x", (":authority", odd)))
            asked.append(two.ask_h2("/x", (":authority", odd), ("host", other)))
            asked.append(two.ask_h2("/x", (":authority", other), ("host", odd)))
            asked.append(two.ask_h2("/x", ("host", odd)))
            asked.append(two.ask_h2(f"http://{odd}/x", (":authority", other)))
        for claim in CLAIMS:
            value = {"Forwarded": f"host={other}", "X-Original-URL": f"http://{other}/x", "X-Forwarded-Uri": "/hello"}.get(
                claim, other
            )
            asked.append(two.ask("GET /x HTTP/1.1", f"Host: {host}", f"{claim}: {value}"))
            asked.append(two.ask_h2("/x", (":authority", host), (claim.lower(), value)))
        await asyncio.gather(*asked)
    await two.ask("GET /x HTTP/1.0")
    await two.ask("GET /x HTTP/1.1")
    assert not two.staff.arrived, two.staff.arrived
    assert two.status.arrived
    for arrival in two.status.arrived:
        assert set(hosts_of(arrival)) == {STATUS}, arrival


@pytest.mark.parametrize("proxy", COMMANDS)
async def test_the_unchanged_file_names_this_machine_alone(proxy: str, tmp_path: Path) -> None:
    """Also while Stateroom is unavailable: other hosts are refused without it."""
    ports = {STATEROOM: free_port(), APPLICATION: free_port(), PROXY: free_port()}
    async with running(proxy, tmp_path / "proxy", ports):
        made = Two(ports[PROXY], Plain(), Plain())

        async def statuses(*hosts: str) -> list[int]:
            return [
                await made.ask(f"GET {path} HTTP/1.1", f"Host: {host}") for host in hosts for path in ("/x", "/.stateroom/login")
            ]

        async def is_up() -> bool:
            return await statuses("127.0.0.1") != [0, 0] and set(await statuses("other.test")) != {404}

        await until(is_up, f"{proxy} answers", seconds=30)
        assert set(await statuses("127.0.0.1", "localhost", f"localhost:{ports[PROXY]}")) <= {502, 503}
        assert set(await statuses("wiki.example.com", "other.test", "127.0.0.2", "127.0.0.1.test", "localhost.test", "[::1]")) == {
            421
        }
