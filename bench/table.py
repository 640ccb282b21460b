"""Formats the figures as Markdown: a table per number of connections, and one for the ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .goals import Verdict
from .results import Results
from .wrk import Round, medians, spread

HEADINGS: dict[str, tuple[str, Callable[[float], str]]] = {
    "requests_per_second": ("requests/s", lambda value: f"{value:,.0f}"),
    "p50_ms": ("p50, ms", lambda value: f"{value:.2f}"),
    "p99_ms": ("p99, ms", lambda value: f"{value:.2f}"),
    "cpu_us": ("CPU, us/request", lambda value: f"{value:.1f}"),
    "redis_commands": ("Redis commands/request", lambda value: f"{value:.2f}"),
}


def tables(results: Results) -> str:
    """A table per number of connections. Below them: the rows that were left out, and failed requests."""
    parts = [f"### {_plural(number, 'connection')}\n\n" + "\n".join(_table(results, number)) for number in results.connections]
    if notes := list(_notes(results)):
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def ratios(verdicts: Sequence[Verdict]) -> str:
    lines = ["| ratio | measured | goal | result |", "|---|---:|---:|---|"]
    for verdict in verdicts:
        goal = verdict.goal
        limit = f"{'at least' if goal.at_least else 'at most'} {goal.limit:g}"
        measured = "" if verdict.ratio is None else f"{verdict.ratio:.2f} ({verdict.least:.2f} to {verdict.most:.2f})"
        lines.append(f"| {goal.text} | {measured} | {limit} | {verdict.word} |")
    return "\n".join(lines)


def _table(results: Results, connections: int) -> Iterator[str]:
    yield f"| | {' | '.join(heading for heading, _ in HEADINGS.values())} |"
    yield f"|---|{'---:|' * len(HEADINGS)}"
    for key, name in results.names.items():
        if rounds := results.of(key, connections):
            yield f"| {name} | {' | '.join(_cells(rounds))} |"


def _cells(rounds: Sequence[Round]) -> Iterator[str]:
    middle, ends = medians(rounds), spread(rounds)
    for column, (_, written) in HEADINGS.items():
        least, most = map(written, ends[column])
        is_one = least == most or column == "redis_commands"
        yield written(middle[column]) if is_one else f"{written(middle[column])} ({least} to {most})"


def _notes(results: Results) -> Iterator[str]:
    for name, reason in results.left_out.items():
        yield f"- left out: {name}: {reason}"
    for name, connections, failed in results.failures():
        yield f"- {name} at {_plural(connections, 'connection')}: {_plural(failed, 'request')} failed"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
