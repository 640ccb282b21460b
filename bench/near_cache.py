"""`python -m bench.near_cache`: measures a check with `SESSION_CACHE_MAX_AGE`, and how soon other workers know of an end.

First it compares an authenticated check with a bare handler and with the service without the cache, in interleaved
rounds. CPU time is that of the service and Redis together. Then two services share one Redis and one journal. A session
is ended at one of them, and the other is asked about it without pause until it refuses the session.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from stateroom.drills import topology
from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key

from .processes import BARE_PORT, CREDENTIALS, SERVICE_PORT, bare_handler, running, service, sign_in, wait_for
from .valkey import answered
from .wrk import Round, load, measure, medians, need_wrk, table

OTHER_PORT = SERVICE_PORT + 1
CACHE = {"SESSION_CACHE_MAX_AGE": "30"}
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""The journal's folder. It is in memory, so that the disk's commit time is not measured."""
HEADERS = {"Content-Type": "application/json"}


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.near_cache", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--trials", type=int, default=300)
    options = arguments.parse_args()
    need_wrk()
    compare(options.rounds, options.seconds)
    asyncio.run(ends(options.trials))


def compare(rounds: int, seconds: int) -> None:
    with (
        tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other,
        bare_handler() as bare,
        service(Path(one)) as without,
        service(Path(other), port=OTHER_PORT, **CACHE) as cached,
    ):  # fmt: skip
        places = {
            "without": (without, SERVICE_PORT, sign_in(), Path(one)),
            "near cache": (cached, OTHER_PORT, sign_in(OTHER_PORT), Path(other)),
        }
        rows: dict[str, list[Round]] = {"bare aiohttp": [], **{name: [] for name in places}}
        for _, port, cookie, _ in places.values():
            load(port, seconds=1, connections=64, cookie=cookie)
        for _ in range(rounds):
            rows["bare aiohttp"].append(measure([bare], BARE_PORT, seconds=seconds, connections=64))
            for name, (pids, port, cookie, folder) in places.items():
                rows[name].append(
                    measure(
                        pids, port, seconds=seconds, connections=64, cookie=cookie,
                        redis_commands=lambda folder=folder: redis_commands(folder),
                    )
                )  # fmt: skip
    middle = {name: medians(each) for name, each in rows.items()}
    print(f"64 connections, medians of {rounds} rounds\n\n{table(middle)}\n")
    for name in places:
        ratios = [ours.cpu_us / floor.cpu_us for ours, floor in zip(rows[name], rows["bare aiohttp"], strict=True)]
        ratio = middle[name]["cpu_us"] / middle["bare aiohttp"]["cpu_us"]
        print(f"{name}: {ratio:.2f} x a bare handler ({min(ratios):.2f} to {max(ratios):.2f})")


async def ends(trials: int) -> None:
    """Milliseconds from the request to end a session at one worker until the other worker refuses it."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with topology.single(Path(folder) / "redis") as node:
            shared = {
                "REDIS_HOST": node.host, "REDIS_PORT": str(node.port), "DATABASE_URL": f"sqlite:///{folder}/users.db",
                "COOKIE_KEYS": new_key(), "COOKIE_SECURE": "false", "BCRYPT_ROUNDS": "4", "LOGIN_ATTEMPTS_PER_ADDRESS": "100000",
                "PASSWORD_BLOCKLIST": "off",
            }  # fmt: skip
            for name, settings in (("without", {}), ("near cache", CACHE)):
                known, acknowledged = await asyncio.to_thread(_ends, Path(folder), shared | settings, trials)
                late = sum(seen > answered for seen, answered in zip(known, acknowledged, strict=True))
                print(
                    f"{name}: of {trials} ends the other worker knew after {_spread(known)}; they were acknowledged after "
                    f"{_spread(acknowledged)}; {late} were seen alive after that"
                )


def _ends(folder: Path, settings: dict[str, str], trials: int) -> tuple[list[float], list[float]]:
    known, acknowledged = [], []
    with _two_services(folder, settings) as (here, there):
        here.request("POST", "/api/auth/register", json.dumps({**json.loads(CREDENTIALS), "name": "Demo"}), HEADERS)
        here.getresponse().read()
        for _ in range(trials):
            here.request("POST", "/api/auth/login", CREDENTIALS, HEADERS)
            answer = here.getresponse()
            answer.read()
            cookie = {"Cookie": str(answer.headers["Set-Cookie"]).split(";")[0]}
            for _ in range(50):
                assert _is_known(there, cookie)
            began = time.perf_counter()
            here.request("POST", "/api/auth/logout", headers=cookie)
            while True:
                asked = time.perf_counter()
                if not _is_known(there, cookie):
                    break
            known.append((asked - began) * 1000)
            answer = here.getresponse()
            answer.read()
            acknowledged.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200
    return known, acknowledged


@contextlib.contextmanager
def _two_services(folder: Path, settings: dict[str, str]) -> Iterator[tuple[http.client.HTTPConnection, ...]]:
    ports = (free_port(), free_port())
    with contextlib.ExitStack() as stack:
        for port in ports:
            own = {"STATE_DIR": str(folder / str(port)), "PORT": str(port), "LOG_LEVEL": "warning"}
            process = stack.enter_context(running([sys.executable, "-m", "stateroom", "serve"], settings | own))
            wait_for(process, port, "/livez")
        yield tuple(stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port))) for port in ports)


def redis_commands(folder: Path) -> int:
    """How many commands an embedded server has answered."""
    state = folder / "var"
    with redis.Redis(unix_socket_path=str(state / "valkey.sock"), password=(state / "valkey.password").read_text()) as client:
        return answered(client)


def _is_known(connection: http.client.HTTPConnection, cookie: dict[str, str]) -> bool:
    connection.request("GET", "/api/auth/check", headers=cookie)
    return bool(json.loads(connection.getresponse().read())["authenticated"])


def _spread(milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.1f} ms (p99 {ordered[int(len(ordered) * 0.99)]:.1f}, most {ordered[-1]:.1f})"


if __name__ == "__main__":
    main()
