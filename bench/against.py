"""`python -m bench --against COMMIT`: what a check costs in this tree, beside another commit of the same repository.

Both servers of a row are started anew for each round. A Python process keeps the hash seed and the memory layout that it got at its
start, and both can change what a request costs. Servers that ran through all rounds would carry this luck into every ratio.
New ones draw again in each round, and the median leaves it out.

Within a round the sides are loaded in turn, for one second each time: wrk knows no shorter time. The side that goes first changes
each time and each round. Only one side is loaded at a time. The other one waits, as it does on either side.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import machine
from .paired import Comparison, Measured, Pair, table
from .processes import NotRunning
from .results import RESULTS
from .rows import WARM_SECONDS, Row, Target, must_know_its_user
from .trees import Tree, other_tree, this_tree
from .wrk import Round, load, measure

CONNECTIONS = 64
SLICE_SECONDS = 1


def run(commit: str, rows: Sequence[Row], *, rounds: int, seconds: int, limit: float, results: Path = RESULTS) -> int:
    """Measure, print and write; the exit status: 1 if a row is over the limit.

    `seconds`: how long each side is loaded in each round.
    """
    with other_tree(commit) as there:
        here = this_tree()
        for tree in (here, there):
            tree.must_be_imported()
        comparisons = [Comparison(row.key, row.name, limit) for row in rows]
        before = machine.Spent.now([])
        for number in range(rounds):
            for row, comparison in zip(rows, comparisons, strict=True):
                pair = one_round(number, row, here, there, seconds)
                comparison.pairs.append(pair)
                _tell(number, row, pair)
        # All servers have ended, so what they spent counts as this process' children.
        others = machine.Spent.now([]).by_others(before)
    write(results, comparisons, here.name, there.name, seconds, others)
    return 0 if all(each.is_within_limit for each in comparisons) else 1


def one_round(number: int, row: Row, here: Tree, there: Tree, seconds: int) -> Pair:
    """Two new servers, warmed and loaded in turn: one first in even rounds, the other in odd ones."""
    order = [here, there] if number % 2 == 0 else [there, here]
    connections = row.connections or CONNECTIONS
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [(tree, stack.enter_context(_started(row, tree, folder / str(at)))) for at, tree in enumerate(order)]
        for _, target in targets:
            load(
                target.port,
                seconds=WARM_SECONDS,
                connections=connections,
                cookie=target.cookie,
                path=target.path,
                script=row.script,
            )
        slices: dict[Tree, list[Round]] = {here: [], there: []}
        for _ in range(0, seconds, SLICE_SECONDS):
            for tree, target in targets:
                slices[tree].append(
                    measure(
                        target.pids(), target.port,
                        seconds=SLICE_SECONDS, connections=connections, cookie=target.cookie, path=target.path,
                        script=row.script,
                    )
                )  # fmt: skip
            targets.reverse()
    return Pair(Measured.of(slices[here]), Measured.of(slices[there]))


@contextlib.contextmanager
def _started(row: Row, tree: Tree, folder: Path) -> Iterator[Target]:
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            target = stack.enter_context(row.start(folder, **tree.environment()))
        except NotRunning as error:
            sys.exit(f"{row.name} of {tree.name}: {error}")
        must_know_its_user(f"{row.name} of {tree.name}", target)
        yield target


def write(results: Path, comparisons: Sequence[Comparison], here: str, there: str, seconds: int, others: float) -> None:
    taken, facts = dt.datetime.now(dt.UTC), machine.describe()
    rounds = len(comparisons[0].pairs)
    how = f"{taken:%Y-%m-%d}, here {here}, there {there}, rounds: {rounds} of {seconds} s a side, {CONNECTIONS} connections; "
    how += f"other processes took {others:.0%} of the machine meanwhile"
    if others > machine.BUSY:
        how += ". **That is too busy a machine**: measure again when it is quiet"
    text = f"{how}\n\n{table(comparisons)}\n"
    figures = {
        "taken": taken.isoformat(timespec="seconds"),
        "here": here,
        "there": there,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "limit": comparisons[0].limit,
        "machine": facts,
        "others": others,
        "rows": {each.key: each.as_json() for each in comparisons},
    }
    results.mkdir(exist_ok=True)
    (results / f"against-{there}.json").write_text(json.dumps(figures, indent=2))
    print(text)


def _tell(number: int, row: Row, pair: Pair) -> None:
    here, there = pair.here, pair.there
    line = (
        f"round {number + 1}, {row.name}: {here.cpu_us:.1f} us here, {there.cpu_us:.1f} us there, {here.cpu_us / there.cpu_us:.3f}"
    )
    print(line, file=sys.stderr, flush=True)
