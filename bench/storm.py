"""`python -m bench.storm`: measures session checks while many users sign in.

Clients sign in without pause, at 12 bcrypt rounds, each from its own address (`X-Forwarded-For`). Meanwhile checks are
sent at a fixed rate. A slow answer does not delay the next check (an open loop). The service is compared, in turn, with an
application that runs bcrypt in the event loop's default executor.
Writes `bench/results/storm.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from .processes import CREDENTIALS, HERE, SERVICE_PORT, service, sign_in
from .publish import publish

EXECUTOR_PORT = SERVICE_PORT + 1
PLACES = {"Stateroom": SERVICE_PORT, "bcrypt in the default executor": EXECUTOR_PORT}
BUSY = 503


@dataclass
class Storm:
    """The figures of a round: milliseconds per check, and logins by status."""

    latencies: list[float] = field(default_factory=list)
    logins: Counter[int] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * share)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.storm")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=int, default=200, help="checks per second")
    parser.add_argument("--seconds", type=int, default=10, help="seconds of each program in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--publish", action="store_true", help="write the results to docs/benchmark.md")
    options = parser.parse_args()
    storms: dict[str, list[Storm]] = {name: [] for name in PLACES}
    with both():
        cookies = {name: sign_in(port) for name, port in PLACES.items()}
        for _ in range(options.rounds):
            for name, port in PLACES.items():
                storms[name].append(uvloop.run(storm(f"http://127.0.0.1:{port}", cookies[name], options)))
    text = report(storms, options)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "storm.md").write_text(text)
    if options.publish:
        publish("storm", text)
    print(text)


@contextlib.contextmanager
def both() -> Iterator[None]:
    """Run the service and the other application, each with its own embedded server."""
    unlimited = {"LOGIN_ATTEMPTS_PER_ADDRESS": "1000000", "LOGIN_ATTEMPTS": "1000000", "BCRYPT_ROUNDS": "12"}
    unlimited |= {"SESSION_CHANGES_PER_USER": "0", "SESSION_CHANGES_PER_ADDRESS": "0", "SESSION_MAX_PER_USER": "0"}
    unlimited["TRUSTED_PROXIES"] = "127.0.0.1"
    other = [sys.executable, "-P", str(HERE / "executor.py"), str(EXECUTOR_PORT)]
    with (
        tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two,
        service(Path(one), port=SERVICE_PORT, **unlimited), service(Path(two), command=other, port=EXECUTOR_PORT),
    ):  # fmt: skip
        yield


async def storm(url: str, cookie: str, options: argparse.Namespace) -> Storm:
    until = time.monotonic() + options.seconds
    seen = Storm()
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(options.clients):
            group.create_task(log_in(session, url, f"198.51.100.{number % 256}", until, seen))
        group.create_task(check(session, url, cookie, until, options.rate, seen))
    return seen


async def log_in(session: aiohttp.ClientSession, url: str, address: str, until: float, seen: Storm) -> None:
    headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
    while time.monotonic() < until:
        async with session.post(f"{url}/api/auth/login", data=CREDENTIALS, headers=headers) as response:
            await response.read()
            seen.logins[response.status] += 1
        if response.status not in {200, BUSY}:
            sys.exit(f"a sign-in was answered {response.status}: that is no storm of sign-ins")
        if response.status == BUSY:
            await asyncio.sleep(min(float(response.headers["Retry-After"]), max(until - time.monotonic(), 0)))


async def check(session: aiohttp.ClientSession, url: str, cookie: str, until: float, rate: int, seen: Storm) -> None:
    async def one() -> None:
        began = time.perf_counter()
        async with session.get(f"{url}/api/auth/check", headers={"Cookie": cookie}) as response:
            body = await response.json()
        assert body["authenticated"], body
        seen.latencies.append((time.perf_counter() - began) * 1000)

    async with asyncio.TaskGroup() as group:
        due = time.monotonic()
        while due < until:
            group.create_task(one())
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def report(storms: Mapping[str, Sequence[Storm]], options: argparse.Namespace) -> str:
    """The medians of the rounds, and the lowest and highest p99."""
    lines = [
        f"{options.clients} clients sign in without pause, {options.rate} checks a second, {options.rounds} x {options.seconds} s",
        "",
        "| checks during the storm | p50, ms | p99, ms | worst, ms | sign-ins/s | sign-ins refused with 503 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, rounds in storms.items():
        worst = max(max(each.latencies) for each in rounds)
        p99 = [each.percentile(0.99) for each in rounds]
        signed_in = sum(each.logins[200] for each in rounds) / len(rounds) / options.seconds
        lines.append(
            f"| {name} | {statistics.median(each.percentile(0.5) for each in rounds):.2f} "
            f"| {statistics.median(p99):.2f} ({min(p99):.2f} to {max(p99):.2f}) | {worst:.1f} "
            f"| {signed_in:.1f} | {sum(each.logins[BUSY] for each in rounds)} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
