"""`make bench`: measures what an authenticated check costs, compared with a bare handler and with other session libraries.

The rows are measured in interleaved rounds. wrk makes the load. CPU time is that of the service and its Redis together,
from /proc; Redis counts the commands. Machines are noisy, so read the ratios, not the microseconds. Writes bench.md,
bench.json and cpu.svg to `bench/results/`. docs/benchmark.md says how to read them.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import against, chart, goals, machine, publish, table
from .processes import NotRunning
from .results import RESULTS, Results
from .rows import ROWS, WARM_SECONDS, Row, Target, must_know_its_user
from .wrk import load, measure, medians, need_wrk, spread

CHARTED = 64
DEFAULTS = {
    "rounds": (5, 15),
    "seconds": (3, 4),
    "connections": ([1, 8, 64, 512], [against.CONNECTIONS]),
    "rows": ([row for row in ROWS if row.script is None], [row for row in ROWS if row.key in ("service", "library")]),
}
"""The values of options that are not given: for a comparison with peers, and with another commit."""


def main() -> None:
    options = _options()
    need_wrk()
    if options.against:
        sys.exit(against.run(options.against, options.rows, rounds=options.rounds, seconds=options.seconds, limit=options.limit))
    results = Results(tuple(options.connections))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = dict(start(options.rows, folder, results, stack))
        pids = {pid for target in targets.values() for pid in target.pids()}
        before = machine.Spent.now(pids)
        for number in range(options.rounds):
            one_round(number, targets, results, options.seconds)
        others = machine.Spent.now(pids).by_others(before)
    write(results, options, others)


def start(rows: Sequence[Row], folder: Path, results: Results, stack: contextlib.ExitStack) -> Iterator[tuple[str, Target]]:
    """Start and warm each row. A row that cannot run is left out, with the reason."""
    for row in rows:
        own = folder / row.key
        own.mkdir()
        try:
            target = stack.enter_context(row.start(own))
        except NotRunning as error:
            results.left_out[row.name] = str(error)
            _tell(f"left out: {row.name}: {error}")
            continue
        must_know_its_user(row.name, target)
        results.names[row.key] = row.name
        load(target.port, seconds=WARM_SECONDS, connections=CHARTED, cookie=target.cookie, path=target.path)
        yield row.key, target


def one_round(number: int, targets: dict[str, Target], results: Results, seconds: int) -> None:
    """Measure each row at each number of connections. Each round begins with another row, so that the order differs."""
    keys = list(targets)
    turn = number % max(len(keys), 1)
    for connections in results.connections:
        for key in keys[turn:] + keys[:turn]:
            target = targets[key]
            measured = measure(
                target.pids(), target.port,
                seconds=seconds, connections=connections, cookie=target.cookie, path=target.path,
                redis_commands=target.commands,
            )  # fmt: skip
            results.add(key, connections, measured)
            _tell(
                f"round {number + 1}, {connections:3} connections, {results.names[key]}: {measured.requests_per_second:,.0f}/s, "
                f"{measured.cpu_us:.1f} us, p99 {measured.p99_ms:.2f} ms"
            )


def write(results: Results, options: argparse.Namespace, others: float) -> None:
    taken, facts, verdicts = dt.datetime.now(dt.UTC), machine.describe(), list(goals.judge(results))
    how = f"{taken:%Y-%m-%d}, rounds of {options.seconds} s, {options.rounds} of each row, medians (least to most); "
    how += ", ".join(f"{name} {fact}" for name, fact in facts.items())
    how += f"; other processes took {others:.0%} of the machine meanwhile"
    if others > machine.BUSY:
        how += ". **That is too busy a machine for latencies and requests/s**: they, and their ratios, tell of the others as well"
    text = f"{how}\n\n{table.tables(results)}\n\n### Ratios\n\n{table.ratios(verdicts)}\n"
    figures = {
        "taken": taken.isoformat(timespec="seconds"),
        "seconds": options.seconds,
        "machine": facts,
        "others": others,
        **results.as_json(),
        "ratios": [verdict.as_json() for verdict in verdicts],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench.md").write_text(text)
    (RESULTS / "bench.json").write_text(json.dumps(figures, indent=2))
    (RESULTS / "cpu.svg").write_text(cpu_chart(results))
    if options.publish:
        publish.publish("measured", f"![CPU per request](benchmark.svg)\n\n{text}")
        publish.PAGE.with_suffix(".svg").write_text(cpu_chart(results))
    print(text)


def cpu_chart(results: Results) -> str:
    drawn = []
    for key, name in results.names.items():
        if rounds := results.of(key, CHARTED):
            kind = "floor" if key == "bare" else "own" if name.startswith("Stateroom") else "peer"
            drawn.append(chart.Bar(name, medians(rounds)["cpu_us"], *spread(rounds)["cpu_us"], kind))
    caption = f"us of CPU per request, service and Redis together, {CHARTED} connections; shorter is better"
    return chart.bars("What an authenticated check costs", caption, drawn)


def _options() -> argparse.Namespace:
    known = {row.key: row for row in ROWS}

    def rows(text: str) -> list[Row]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"no row {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return [known[key] for key in text.split(",")]

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare with this commit, not with other libraries; exit status 1 if a ratio is over --limit",
    )
    arguments.add_argument(
        "--limit", type=float, default=1.03, help="with --against: the highest ratio of CPU time that passes; default 1.03"
    )
    arguments.add_argument("--rounds", type=int, help="number of rounds; default 5, with --against 15")
    arguments.add_argument(
        "--seconds", type=int, help="seconds of load for each row in each round; default 3, with --against 4 for each commit"
    )
    arguments.add_argument(
        "--connections", type=numbers, metavar="N,...", help="numbers of connections; default 1,8,64,512, with --against always 64"
    )
    arguments.add_argument("--publish", action="store_true", help="write the results to docs/benchmark.md")
    arguments.add_argument(
        "--rows",
        type=rows,
        metavar="ROW,...",
        help=f"rows to measure, of {', '.join(known)}; default all, with --against service,library",
    )
    options = arguments.parse_args()
    for name, (alone, beside_a_commit) in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, beside_a_commit if options.against else alone)
    if min(options.rounds, options.seconds) < 1:
        arguments.error("--rounds and --seconds are at least 1")
    if not options.against and (scripted := [row.key for row in options.rows if row.script is not None]):
        arguments.error(f"{', '.join(scripted)}: sends no checks; use it together with --against")
    if options.against:
        if options.publish or options.connections != [against.CONNECTIONS]:
            arguments.error("--publish and --connections cannot be used together with --against")
        if peers := [row.key for row in options.rows if not row.is_stateroom]:
            arguments.error(f"{', '.join(peers)}: is no code of Stateroom, so two commits do not differ; choose other rows")
    return options


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
