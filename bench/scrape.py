"""`python -m bench.scrape`: measures a scrape while many sessions are stored, of one worker and of several."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import redis

from .filling import fill, stateroom_sessions
from .processes import SERVICE_PORT, service

SCRAPES = 50


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    arguments.add_argument("--sessions", type=int, default=200_000)
    options = arguments.parse_args()
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder, service(Path(folder), arguments=["--workers", str(workers)]):
            fill_store(Path(folder) / "var", options.sessions)
            while (active := scrape()[1]) != options.sessions:
                time.sleep(1)
            took = sorted(scrape()[0] for _ in range(SCRAPES))
        print(
            f"{workers} worker(s), {active:,.0f} sessions: a scrape takes {statistics.median(took) * 1000:.1f} ms, "
            f"at most {took[-1] * 1000:.1f} ms of {SCRAPES}"
        )


def fill_store(state: Path, count: int) -> None:
    """Write sessions to the server that the service runs."""
    password = (state / "valkey.password").read_text()
    with redis.Redis(unix_socket_path=str(state / "valkey.sock"), password=password) as server:
        fill(server, count, stateroom_sessions(server))


def scrape() -> tuple[float, float]:
    """Seconds that a scrape takes, and the number of active sessions in it."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{SERVICE_PORT}/metrics") as response:
        text = response.read().decode()
    took = time.perf_counter() - began
    return took, next(float(line.split()[1]) for line in text.splitlines() if line.startswith("stateroom_sessions_active "))


if __name__ == "__main__":
    main()
