"""`make bench`: what an authenticated check costs, beside a bare aiohttp handler that gives the same body.

One run, interleaved rounds, wrk as load, CPU time from /proc of the service and of Redis together, Redis' own count
of commands. Machines are noisy: read the ratio, not the microseconds. Writes `bench/results/check.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from . import honour
from .processes import BARE_PORT, SERVICE_PORT, bare_handler, service, sign_in
from .wrk import Round, load, measure, medians, need_wrk, table

HERE = Path(__file__).parent


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--connections", type=int, default=64)
    options = arguments.parse_args()
    need_wrk()
    how = {"seconds": options.seconds, "connections": options.connections}
    with tempfile.TemporaryDirectory() as folder, bare_handler() as bare, service(Path(folder)) as (process, redis):
        cookie = sign_in()
        rows: dict[str, list[Round]] = {"bare aiohttp": [], "stateroom check": []}
        load(SERVICE_PORT, seconds=1, connections=options.connections, cookie=cookie)
        for _ in range(options.rounds):
            rows["bare aiohttp"].append(measure([bare], BARE_PORT, **how))
            rows["stateroom check"].append(
                measure([process, redis], SERVICE_PORT, cookie=cookie, redis_commands=lambda: redis_commands(Path(folder)), **how)
            )
    report(rows, options.connections)
    honour.main()


def redis_commands(folder: Path) -> int:
    """Commands that the embedded server has answered, from INFO COMMANDSTATS."""
    import redis

    state = folder / "var"
    with redis.Redis(unix_socket_path=str(state / "valkey.sock"), password=(state / "valkey.password").read_text()) as client:
        return sum(int(stats["calls"]) for stats in client.info("commandstats").values())  # type: ignore[union-attr]


def report(rows: dict[str, list[Round]], connections: int) -> None:
    middle = {name: medians(rounds) for name, rounds in rows.items()}
    print(f"{connections} connections, medians of {len(rows['bare aiohttp'])} rounds\n\n{table(middle)}")
    ratio = middle["stateroom check"]["cpu_us"] / middle["bare aiohttp"]["cpu_us"]
    print(f"\nCPU per check, service and Redis: {ratio:.2f} x a bare handler")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "check.json").write_text(
        json.dumps({"medians": middle, "ratio": ratio, "rounds": {n: [asdict(r) for r in rs] for n, rs in rows.items()}}, indent=2)
    )


if __name__ == "__main__":
    main()
