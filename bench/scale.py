"""`python -m bench.scale --sessions 1000000`: measures whether many stored sessions slow down a check.

It fills one server with 10,000 sessions and another with `--sessions`, by the store's own script. Each has a service in
front of it. Checks of both are measured in turn, over many sessions. Then it measures lists, counts, sweeps, scrapes and
memory of the full server, and reads the commands over 5 ms from SLOWLOG. `bench.scale_failover` kills a primary with as
many sessions. Writes `bench/results/scale.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from stateroom import SessionManager, Settings
from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.drills import topology
from stateroom.drills.node import Node, until
from stateroom.drills.ports import free_port
from stateroom.sessions.journal.interface import NoJournal
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.deployment import Deployment
from stateroom.sessions.model.lifetimes import Lifetimes
from stateroom.sessions.sealing.key_ring import KeyRing, new_key
from stateroom.sessions.wiring import wire
from stateroom.telemetry.metrics import Metrics

from .filling import DEPLOYMENT_ID, IDLE_SECONDS, LIFETIME_SECONDS, Visitor, check_form, fill, stateroom_sessions
from .processes import cpu_seconds, running, wait_for
from .wrk import need_wrk

HERE = Path(__file__).parent
FEW = 10_000
ROUNDS, SECONDS = 5, 3
SLOW_MS = 5
SERVER_OPTIONS = {
    "appendonly": "yes", "appendfsync": "everysec", "slowlog-log-slower-than": str(SLOW_MS * 1000), "slowlog-max-len": "10000",
}  # fmt: skip


@dataclass
class Filled:
    """A server with sessions, the service in front of it, and the cookies of some sessions."""

    node: Node
    settings: Settings
    port: int
    service_pid: int
    cookies: Path
    sample: list[str]
    fill_seconds: float
    bytes_per_session: float


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    arguments.add_argument("--sessions", type=int, default=1_000_000)
    options = arguments.parse_args()
    need_wrk()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), options.sessions))


async def measure(folder: Path, count: int, filled_all: Callable[[], None] | None = None) -> None:
    """Fill the servers and measure. `filled_all` is called between the two."""
    async with contextlib.AsyncExitStack() as stack:
        few, many = [await stack.enter_async_context(filled(folder / str(number), number)) for number in (FEW, count)]
        if filled_all is not None:
            filled_all()
        print(f"{count:,} sessions filled in {many.fill_seconds:.0f} s, {many.bytes_per_session:.0f} bytes each")
        results: dict[str, Any] = {"sessions": count, "fill_seconds": many.fill_seconds, "bytes": many.bytes_per_session}
        results |= compare_checks(few, many)
        results["throughput"] = throughput(many)
        results |= timed("list", [request(many, "/api/sessions", cookie) for cookie in many.sample])
        await until(lambda: counts(many, count), "the service has counted the sessions", seconds=60)
        results |= timed("scrape", [scrape(many)[0] for _ in range(50)])
        print("the server with few sessions, which was asked as many checks:", end=" ")
        results["slow beside"] = slow(few)
        results |= await count_and_sweep(many, count)
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "scale.json").write_text(json.dumps(results, indent=2))


@contextlib.asynccontextmanager
async def filled(folder: Path, count: int) -> Any:
    key = new_key()
    async with topology.single(folder / "server", options=SERVER_OPTIONS) as node:
        settings = settings_for(key, redis_port=node.port)
        with redis.Redis(port=node.port) as server:
            before = int(server.info("memory")["used_memory"])  # type: ignore[index]
            began = time.monotonic()
            sample = fill(server, count, stateroom_sessions(server))
            took = time.monotonic() - began
            bytes_per_session = (int(server.info("memory")["used_memory"]) - before) / count  # type: ignore[index]
            await check_form(server, settings, sample)
            await until(lambda: is_idle(server), "the log has been rewritten", seconds=120)
            server.slowlog_reset()  # The commands that filled the server do not count.
        cookies = sealed(settings, sample)
        (folder / "cookies").write_text("\n".join(cookies))
        url = f"sqlite:///{folder}/users.db"
        await make_database(url)
        with serving(folder, key, REDIS_PORT=str(node.port), DATABASE_URL=url) as (port, pid):
            yield Filled(node, settings, port, pid, folder / "cookies", cookies, took, bytes_per_session)


async def is_idle(server: redis.Redis) -> bool:
    return not server.info("persistence")["aof_rewrite_in_progress"]  # type: ignore[index]


async def make_database(url: str) -> None:
    """A user database of the deployment whose sessions the server has."""
    database = Database(Settings(_env_file=None, cookie_keys=new_key(), database_url=url))
    await database.upgrade()
    await Journal(database, LIFETIME_SECONDS * 1000).set_identity(DEPLOYMENT_ID, "")
    await database.aclose()


def settings_for(key: str, **where: Any) -> Settings:
    return Settings(_env_file=None, cookie_keys=key, database_url="none", redis_read_timeout=5, **where)


def sealed(settings: Settings, sample: Sequence[Visitor]) -> list[str]:
    """Cookies that open these sessions."""
    now = int(time.time() * 1000)
    deployment = Deployment()
    deployment.id = DEPLOYMENT_ID
    ring = KeyRing(settings.key_ring, "session_id", deployment, Lifetimes.of(settings))
    return [
        "session_id="
        + ring.seal(
            each.token, user_id=each.user_id, generation=0, auth_time=now, deadline=now + LIFETIME_SECONDS * 1000,
            idle_ms=IDLE_SECONDS * 1000, issued_at=now, is_persistent=False,
        )
        for each in sample
    ]  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path, key: str, **settings: str) -> Iterator[tuple[int, int]]:
    """Run `stateroom serve`. Yields its port and process id."""
    port = free_port()
    environment = {
        "PORT": str(port), "COOKIE_KEYS": key, "COOKIE_SECURE": "false", "SESSION_NAME": "session_id", "LOG_LEVEL": "warning",
        "STATE_DIR": str(folder / "var"), **settings,
    }  # fmt: skip
    with running([sys.executable, "-m", "stateroom", "serve"], environment) as process:
        wait_for(process, port, "/livez")
        yield port, process.pid


def compare_checks(few: Filled, many: Filled) -> dict[str, Any]:
    """The median time of a check over one connection, measured in turn."""
    rounds: dict[str, list[dict[str, float]]] = {"few": [], "many": []}
    for each in (few, many):
        checks(each, connections=1)
    for _ in range(ROUNDS):
        rounds["few"].append(checks(few, connections=1))
        rounds["many"].append(checks(many, connections=1))
    p50 = {name: statistics.median(each["p50_ms"] for each in some) for name, some in rounds.items()}
    ratio = p50["many"] / p50["few"]
    print(f"check over one connection: p50 {p50['few']:.3f} ms with {FEW:,} sessions, {p50['many']:.3f} ms: {ratio:.2f} x")
    return {"check": rounds, "check_ratio": ratio}


def throughput(many: Filled) -> dict[str, float]:
    """Checks per second over 64 connections, and the CPU time of service and Redis per check."""
    pids = {"service": many.service_pid, "redis": many.node.pid}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    found = checks(many, connections=64, seconds=2 * SECONDS)
    cpu = {f"{name}_us": (cpu_seconds(pid) - before[name]) / found["requests"] * 1e6 for name, pid in pids.items()}
    rate = found["requests"] / found["seconds"]
    print(f"64 connections: {rate:,.0f} checks/s, CPU service {cpu['service_us']:.1f} us, Redis {cpu['redis_us']:.1f} us a check")
    return {"checks_per_second": rate, "p99_ms": found["p99_ms"], **cpu}


def checks(of: Filled, *, connections: int, seconds: int = SECONDS) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "cookies.lua")]
    command += [f"http://127.0.0.1:{of.port}", "--", str(of.cookies)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    assert not found["errors"], output
    return found


def request(of: Filled, path: str, cookie: str = "") -> float:
    """Milliseconds that one answer takes."""
    asked = urllib.request.Request(f"http://127.0.0.1:{of.port}{path}", headers={"Cookie": cookie})
    began = time.perf_counter()
    with urllib.request.urlopen(asked) as response:
        response.read()
    return (time.perf_counter() - began) * 1000


def scrape(of: Filled) -> tuple[float, float]:
    """Milliseconds that a scrape takes, and the number of active sessions in it."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{of.port}/metrics") as response:
        text = response.read().decode()
    took = (time.perf_counter() - began) * 1000
    return took, next(float(line.split()[1]) for line in text.splitlines() if line.startswith("stateroom_sessions_active "))


async def counts(of: Filled, count: int) -> bool:
    return scrape(of)[1] == count


def timed(name: str, took: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(took)
    figures = {"median_ms": statistics.median(ordered), "p99_ms": ordered[int(len(ordered) * 0.99)], "worst_ms": ordered[-1]}
    print(f"{name}: median {figures['median_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms of {len(ordered)}")
    return {name: figures}


async def count_and_sweep(many: Filled, count: int) -> dict[str, Any]:
    """Sweep as housekeeping does, over our own connection. At the end all sessions expire at once."""
    client = make_client(many.settings, metrics=Metrics())
    await client.start()
    parts = wire(many.settings, Metrics(), client, NoJournal())
    manager = SessionManager(parts)
    results = timed("count", [await _milliseconds(manager.count_active) for _ in range(20)])
    results |= timed("sweep, nothing due", [await _milliseconds(manager.sweep) for _ in range(10)])
    results |= {"slow before the flood": slow(many)}
    parts.clock.skew_ms = (IDLE_SECONDS + 600) * 1000
    swept, took, alongside = 0, [], []
    while swept < count:
        began = time.perf_counter()
        sweeping = asyncio.create_task(manager.sweep())
        while not sweeping.done():
            alongside.append(await _milliseconds(lambda: client.execute("k", "GET", "k")))
        swept += await sweeping
        took.append((time.perf_counter() - began) * 1000)
    print(f"everything expires at once: {swept:,} swept in {sum(took) / 1000:.1f} s")
    results |= timed("a command beside that sweep", alongside)
    await client.aclose()
    return {**results, "swept": swept, "sweep_seconds": sum(took) / 1000, "slow": slow(many)}


async def _milliseconds(step: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await step()
    return (time.perf_counter() - began) * 1000


def slow(of: Filled) -> list[str]:
    """The commands over 5 ms in SLOWLOG."""
    with redis.Redis(port=of.node.port) as server:
        entries = [f"{entry['duration']} us: {entry['command'][:80]!r}" for entry in server.slowlog_get(1000)]  # type: ignore[union-attr]
    print(f"SLOWLOG over {SLOW_MS} ms: {len(entries)}", *entries[:5], sep="\n  ", flush=True)
    return entries


if __name__ == "__main__":
    main()
