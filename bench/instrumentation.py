"""`python -m bench.instrumentation`: measures what metrics cost a request.

It compares the service with a copy that neither times nor counts requests and commands. Both give request ids; neither
writes an access log. The rounds are interleaved. The result is the difference of the medians of CPU time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .processes import SERVICE_PORT, service, sign_in
from .wrk import Round, load, measure, medians, need_wrk, table

OTHER_PORT = SERVICE_PORT + 1


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.instrumentation", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--seconds", type=int, default=3)
    options = arguments.parse_args()
    need_wrk()
    rows: dict[str, list[Round]] = {"counting": [], "not counting": []}
    with (
        tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other,
        service(Path(one)) as counting,
        service(Path(other), command=[sys.executable, "-m", "bench.uncounted"], port=OTHER_PORT) as not_counting,
    ):  # fmt: skip
        places = {
            "counting": (counting, SERVICE_PORT, sign_in()),
            "not counting": (not_counting, OTHER_PORT, sign_in(OTHER_PORT)),
        }
        for _, port, cookie in places.values():
            load(port, seconds=1, connections=64, cookie=cookie)
        for _ in range(options.rounds):
            for name, (pids, port, cookie) in places.items():
                rows[name].append(measure(pids, port, seconds=options.seconds, connections=64, cookie=cookie))
    middle = {name: medians(rounds) for name, rounds in rows.items()}
    print(f"64 connections, medians of {options.rounds} rounds\n\n{table(middle)}")
    print(f"\ncounting costs {middle['counting']['cpu_us'] - middle['not counting']['cpu_us']:.1f} us of CPU per request")


if __name__ == "__main__":
    main()
