"""`python -m bench.storm`: session checks while everybody signs in.

Clients log in without pause at 12 bcrypt rounds; beside them checks leave at a fixed rate, whether or not the last
one has been answered (an open loop: a slow answer does not slow the questions). Prints the checks' latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from .processes import CREDENTIALS, SERVICE_PORT, service, sign_in

URL = f"http://127.0.0.1:{SERVICE_PORT}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.storm")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=15)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), LOGIN_ATTEMPTS_PER_ADDRESS="1000000", LOGIN_ATTEMPTS="1000000"),
    ):
        cookie = sign_in()
        uvloop.run(storm(cookie, options))


async def storm(cookie: str, options: argparse.Namespace) -> None:
    until = time.monotonic() + options.seconds
    statuses: dict[int, int] = {}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(options.clients):
            group.create_task(log_in(session, until, statuses))
        measured = group.create_task(check(session, cookie, until, options.rate))
    latencies = sorted(measured.result())
    print(f"logins by status: {dict(sorted(statuses.items()))}")
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"{len(latencies)} checks: median {statistics.median(latencies):.2f} ms, p99 {p99:.2f} ms, worst {latencies[-1]:.2f} ms")


async def log_in(session: aiohttp.ClientSession, until: float, statuses: dict[int, int]) -> None:
    headers = {"Content-Type": "application/json"}
    while time.monotonic() < until:
        async with session.post(f"{URL}/api/auth/login", data=CREDENTIALS, headers=headers) as response:
            await response.read()
            statuses[response.status] = statuses.get(response.status, 0) + 1


async def check(session: aiohttp.ClientSession, cookie: str, until: float, rate: int) -> list[float]:
    latencies: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        async with session.get(f"{URL}/api/auth/check", headers={"Cookie": cookie}) as response:
            body = await response.json()
        assert body["authenticated"], body
        latencies.append((time.perf_counter() - began) * 1000)

    async with asyncio.TaskGroup() as group:
        due = time.monotonic()
        while due < until:
            group.create_task(one())
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return latencies


if __name__ == "__main__":
    main()
