"""Makes load with wrk, and measures the CPU time that processes spend on it."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import cpu_seconds

CHECK = "/api/auth/check"
COLUMNS = ("requests_per_second", "p50_ms", "p99_ms", "cpu_us", "redis_commands")


@dataclass
class Round:
    """The figures of one round. `cpu_us`, `redis_commands`: per request. `failed`: answers but 2xx and 3xx, and no answers."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_commands: float
    failed: int = 0


def need_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench needs wrk: apt-get install wrk")


def measure(
    pids: Sequence[int],
    port: int,
    *,
    seconds: int,
    connections: int,
    cookie: str = "",
    path: str = CHECK,
    script: Path | None = None,
    redis_commands: Callable[[], int] = lambda: 0,
) -> Round:
    """Run one round of authenticated checks. `cpu_us` is that of all `pids` together."""
    commands, before = redis_commands(), sum(map(cpu_seconds, pids))
    output = load(port, seconds=seconds, connections=connections, cookie=cookie, path=path, script=script)
    after = sum(map(cpu_seconds, pids))
    return parse(output, cpu_seconds=after - before, redis_commands=redis_commands() - commands)


def load(port: int, *, seconds: int, connections: int, cookie: str = "", path: str = CHECK, script: Path | None = None) -> str:
    """Run wrk. `script`: makes the requests instead of checks, with a thread for each connection."""
    if script is not None:
        command = ["wrk", f"-t{connections}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
        command += ["-s", str(script), f"http://127.0.0.1:{port}/", "--", str(time.time_ns())]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    header = ["-H", f"Cookie: {cookie}"] if cookie else []
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *header, f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parse(output: str, *, cpu_seconds: float, redis_commands: int) -> Round:
    """The figures in wrk's output, with the CPU time and the commands."""
    total = int(_found(r"(\d+) requests in", output))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Round(
        float(_found(r"Requests/sec:\s+([\d.]+)", output)),
        _milliseconds(_found(r"(?m)^\s*50%\s+(\S+)", output)),
        _milliseconds(_found(r"(?m)^\s*99%\s+(\S+)", output)),
        cpu_seconds / max(total, 1) * 1e6,
        redis_commands / max(total, 1),
        (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    return {column: statistics.median(getattr(each, column) for each in rounds) for column in COLUMNS}


def spread(rounds: Sequence[Round]) -> dict[str, tuple[float, float]]:
    """The lowest and the highest of each column."""
    return {column: (min(values), max(values)) for column in COLUMNS if (values := [getattr(each, column) for each in rounds])}


def table(rows: dict[str, dict[str, float]]) -> str:
    """The medians only."""
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    lines += [f"| {name} | {' | '.join(f'{row[column]:.2f}' for column in COLUMNS)} |" for name, row in rows.items()]
    return "\n".join(lines)


def _found(pattern: str, output: str) -> str:
    found = re.search(pattern, output)
    if found is None:
        sys.exit(f"wrk said something else than was expected:\n{output}")
    return found[1]


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert found, text
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[found[2]]
