"""`make bench`: what an authenticated check costs, beside a bare aiohttp handler that gives the same body.

One run, interleaved rounds, wrk as load, CPU time from /proc of the service and of Redis together, Redis' own count
of commands. Machines are noisy: read the ratio, not the microseconds. Writes `bench/results/check.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from . import honour
from .processes import BARE_PORT, SERVICE_PORT, bare_handler, service, sign_in

HERE = Path(__file__).parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Round:
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_commands: float


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--connections", type=int, default=64)
    options = arguments.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("bench needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder, bare_handler() as bare, service(Path(folder)) as (process, redis):
        cookie = sign_in()
        rows: dict[str, list[Round]] = {"bare aiohttp": [], "stateroom check": []}
        load(SERVICE_PORT, 1, options.connections, cookie)
        for _ in range(options.rounds):
            rows["bare aiohttp"].append(measure([bare], BARE_PORT, options, "", None))
            rows["stateroom check"].append(measure([process, redis], SERVICE_PORT, options, cookie, Path(folder)))
    report(rows, options.connections)
    honour.main()


def measure(pids: list[int], port: int, options: argparse.Namespace, cookie: str, folder: Path | None) -> Round:
    before, commands = sum(map(cpu_seconds, pids)), redis_commands(folder)
    output = load(port, options.seconds, options.connections, cookie)
    after = sum(map(cpu_seconds, pids))
    total = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    if "Non-2xx" in output:
        sys.exit(f"answers other than 2xx:\n{output}")
    return Round(
        float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),  # type: ignore[index]
        milliseconds(re.search(r"50%\s+(\S+)", output)[1]),  # type: ignore[index]
        milliseconds(re.search(r"99%\s+(\S+)", output)[1]),  # type: ignore[index]
        (after - before) / total * 1e6,
        (redis_commands(folder) - commands) / total,
    )


def load(port: int, seconds: int, connections: int, cookie: str) -> str:
    header = ["-H", f"Cookie: {cookie}"] if cookie else []
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *header, f"http://127.0.0.1:{port}/api/auth/check"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def redis_commands(folder: Path | None) -> int:
    """Session loads that the embedded server has answered, from INFO COMMANDSTATS."""
    if folder is None:
        return 0
    import redis

    state = folder / "var"
    with redis.Redis(unix_socket_path=str(state / "valkey.sock"), password=(state / "valkey.password").read_text()) as client:
        return sum(int(stats["calls"]) for stats in client.info("commandstats").values())  # type: ignore[union-attr]


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def report(rows: dict[str, list[Round]], connections: int) -> None:
    columns = ["requests_per_second", "p50_ms", "p99_ms", "cpu_us", "redis_commands"]
    medians = {name: {c: statistics.median(getattr(r, c) for r in rounds) for c in columns} for name, rounds in rows.items()}
    print(f"{connections} connections, medians of {len(rows['bare aiohttp'])} rounds\n")
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in medians.items():
        print(f"| {name} | {' | '.join(f'{row[c]:.2f}' for c in columns)} |")
    ratio = medians["stateroom check"]["cpu_us"] / medians["bare aiohttp"]["cpu_us"]
    print(f"\nCPU per check, service and Redis: {ratio:.2f} x a bare handler")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "check.json").write_text(
        json.dumps({"medians": medians, "ratio": ratio, "rounds": {n: [asdict(r) for r in rs] for n, rs in rows.items()}}, indent=2)
    )


if __name__ == "__main__":
    main()
