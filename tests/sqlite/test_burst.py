"""Many clients register and sign out at once, at a service with two workers and SQLite."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from ..commands import Serving
from ..conftest import require_tool

UNLIMITED = {"LOGIN_ATTEMPTS": 1_000_000, "LOGIN_ATTEMPTS_PER_ADDRESS": 1_000_000, "TRUSTED_PROXIES": "127.0.0.1"}
REQUESTS = 4_000


@dataclass
class Burst:
    """What the clients saw: statuses, and seconds of each request. `left`: requests that were not sent yet."""

    left: int
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


async def burst(port: int, *, clients: int, requests: int) -> Burst:
    seen = Burst(requests)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def post(path: str, headers: dict[str, str], body: object = None) -> str:
            seen.left -= 1
            began = time.monotonic()
            async with session.post(path, json=body, headers=headers) as response:
                await response.read()
            seen.seconds.append(time.monotonic() - began)
            seen.statuses[response.status] += 1
            return response.headers.get("Set-Cookie", "").split(";")[0]

        async def client() -> None:
            while seen.left > 0:
                address = {"X-Forwarded-For": f"198.51.{seen.left // 256 % 256}.{seen.left % 256}"}
                account = {"email": f"u{seen.left}@example.com", "password": "correct horse battery", "name": "Ada"}
                cookie = await post("/api/auth/register", address, account)
                await post("/api/auth/logout", {**address, "Cookie": cookie})

        await asyncio.gather(*(client() for _ in range(clients)))
    return seen


async def test_registering_and_signing_out_at_once_is_quick_and_fails_for_nobody(tmp_path: Path) -> None:
    with Serving(tmp_path, "--workers", "2", **UNLIMITED) as service:
        seen = await burst(service.port, clients=16, requests=REQUESTS)
    print(seen.statuses, seen.p99)
    assert set(seen.statuses) == {200, 201}
    assert max(seen.seconds) < 2.0, "nobody waits as long as SQLite waits for a lock"


@pytest.fixture
def slow_fsync(tmp_path: Path) -> Path:
    """A library that makes each fsync take 50 ms longer."""
    made = tmp_path / "slow_fsync.so"
    source = Path(__file__).with_name("slow_fsync.c")
    subprocess.run([require_tool("gcc"), "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made


async def test_a_slow_disk_delays_everybody_a_little_and_fails_for_nobody(tmp_path: Path, slow_fsync: Path) -> None:
    with Serving(tmp_path, "--workers", "2", LD_PRELOAD=slow_fsync, **UNLIMITED) as service:
        seen = await burst(service.port, clients=20, requests=1_000)
    print(seen.statuses, seen.p99)
    assert set(seen.statuses) == {200, 201}
    assert min(seen.seconds) > 0.05, "the disk was slow"
    assert seen.p99 < 0.6
