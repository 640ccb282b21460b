"""`python -m bench.startup`: measures the start of the service, the import of `stateroom` and the memory of a worker.

The service is started twice on one folder, because the first start creates the database and the demo user. The second
start is measured, until the first 200 from `/readyz`: its time, and its CPU time, which depends less on other processes.
The import's CPU time is that of a new interpreter that has already imported aiohttp and redis.asyncio. A worker's memory
is its Pss (its own memory and its share of what processes share) after a start and some requests. All are medians.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from .wrk import cpu_seconds

PORT = 8194
REQUESTS = 200
STEP_SECONDS = 0.005
LIMIT_SECONDS = 30.0
IMPORT = (
    "import aiohttp.web, redis.asyncio, time; began = time.process_time(); import stateroom; print(time.process_time() - began)"
)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = [start(Path(folder)) for _ in range(options.rounds + 1)][1:]
    imported = [import_seconds() for _ in range(options.rounds + 1)][1:]  # The first start reads from the disk.
    ready, cpu, memory = zip(*started, strict=True)
    print(f"ready for traffic after {_middle(ready):.2f} s {_spread(ready, '.2f')}, {_middle(cpu):.2f} s of CPU")
    print(f"import stateroom takes {_middle(imported) * 1000:.0f} ms {_spread([each * 1000 for each in imported], '.0f')}")
    print(f"a worker takes {_middle(memory):.0f} MiB {_spread(memory, '.0f')}")


def start(folder: Path) -> tuple[float, float, float]:
    """Seconds until the service is ready, the CPU seconds among them, and the MiB that it takes then."""
    with _service(folder) as process:
        began = time.perf_counter()
        while not _is_ready():
            if process.poll() is not None or time.perf_counter() - began > LIMIT_SECONDS:
                sys.exit("the service did not get ready")
            time.sleep(STEP_SECONDS)
        seconds, cpu = time.perf_counter() - began, cpu_seconds(process.pid)
        for _ in range(REQUESTS):
            _is_ready()
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return seconds, cpu, int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) / 1024  # type: ignore[index]


def import_seconds() -> float:
    return float(subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"STATE_DIR": str(folder / "var"), "PORT": str(PORT), "LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-m", "stateroom", "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _is_ready() -> bool:
    with contextlib.suppress(OSError):  # It does not listen yet, or answers 503.
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1).close()
        return True
    return False


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def _spread(values: Sequence[float], form: str) -> str:
    return f"({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
