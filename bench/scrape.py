"""`python -m bench.scrape`: measures a scrape while many sessions are stored, of one worker and of several."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from stateroom import SessionManager, Settings
from stateroom.backend.clients import make_client
from stateroom.sessions.sealing.key_ring import KeyRing, new_key
from stateroom.telemetry.metrics import Metrics

from .processes import SERVICE_PORT, service

AT_ONCE = 200
SCRAPES = 50


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    arguments.add_argument("--sessions", type=int, default=200_000)
    options = arguments.parse_args()
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder, service(Path(folder), arguments=["--workers", str(workers)]):
            asyncio.run(fill(Path(folder) / "var", options.sessions))
            while (active := scrape()[1]) != options.sessions:
                time.sleep(1)
            took = sorted(scrape()[0] for _ in range(SCRAPES))
        print(
            f"{workers} worker(s), {active:,.0f} sessions: a scrape takes {statistics.median(took) * 1000:.1f} ms, "
            f"at most {took[-1] * 1000:.1f} ms of {SCRAPES}"
        )


async def fill(state: Path, count: int) -> None:
    url = f"unix://:{(state / 'valkey.password').read_text()}@{state / 'valkey.sock'}"
    settings = Settings(_env_file=None, redis_url=url, cookie_keys=new_key(), database_url="none", redis_read_timeout=5)
    client = make_client(settings, metrics=Metrics())
    await client.start()
    manager = SessionManager(settings, Metrics(), KeyRing(settings.key_ring, "session_id"))
    manager.attach(client)
    for begin in range(0, count, AT_ONCE):
        await asyncio.gather(*(manager.create(user) for user in range(begin, min(begin + AT_ONCE, count))))
    await client.aclose()


def scrape() -> tuple[float, float]:
    """Seconds that a scrape takes, and the number of active sessions in it."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{SERVICE_PORT}/metrics") as response:
        text = response.read().decode()
    took = time.perf_counter() - began
    return took, next(float(line.split()[1]) for line in text.splitlines() if line.startswith("stateroom_sessions_active "))


if __name__ == "__main__":
    main()
