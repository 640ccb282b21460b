"""wrk as the load, and what processes spend on it."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
COLUMNS = ("requests_per_second", "p50_ms", "p99_ms", "cpu_us", "redis_commands")


@dataclass
class Round:
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    redis_commands: float


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
    redis_commands: Callable[[], int] = lambda: 0,
) -> Round:
    """One round of authenticated checks: `cpu_us` is of all `pids` together, per request."""
    before, commands = sum(map(cpu_seconds, pids)), redis_commands()
    output = load(port, seconds=seconds, connections=connections, cookie=cookie)
    after = sum(map(cpu_seconds, pids))
    total = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    if "Non-2xx" in output:
        sys.exit(f"answers other than 2xx:\n{output}")
    return Round(
        float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),  # type: ignore[index]
        _milliseconds(re.search(r"^ +50%\s+(\S+)", output, re.MULTILINE)[1]),  # type: ignore[index]
        _milliseconds(re.search(r"^ +99%\s+(\S+)", output, re.MULTILINE)[1]),  # type: ignore[index]
        (after - before) / total * 1e6,
        (redis_commands() - commands) / total,
    )


def load(port: int, *, seconds: int, connections: int, cookie: str = "") -> str:
    header = ["-H", f"Cookie: {cookie}"] if cookie else []
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *header, f"http://127.0.0.1:{port}/api/auth/check"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    return {column: statistics.median(getattr(each, column) for each in rounds) for column in COLUMNS}


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    lines += [f"| {name} | {' | '.join(f'{row[column]:.2f}' for column in COLUMNS)} |" for name, row in rows.items()]
    return "\n".join(lines)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
