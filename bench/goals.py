"""The goals for the figures, as ratios, which do not depend on the machine's speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .results import Results


@dataclass(frozen=True)
class Goal:
    """A goal: the limit of the median of `row` divided by that of `other`, at a number of connections.

    `less`: a row whose figure is subtracted from that of `row` before.
    """

    text: str
    row: str
    other: str
    column: str
    connections: int
    limit: float
    at_least: bool = False
    less: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a goal is met. `ratio`: None if a row was not measured. `least`, `most`: of the ratios of single rounds."""

    goal: Goal
    ratio: float | None = None
    least: float = 0.0
    most: float = 0.0

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        is_met = self.ratio >= self.goal.limit if self.goal.at_least else self.ratio <= self.goal.limit
        return "PASS" if is_met else "short"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.word}


GOALS = (
    Goal("CPU, whole service to bare aiohttp, 64 connections", "service", "bare", "cpu_us", 64, 1.6),
    Goal("CPU, whole service to aiohttp-session, 64 connections", "service", "aiohttp-session", "cpu_us", 64, 0.45),
    Goal("CPU, whole service to starsessions, 64 connections", "service", "starsessions", "cpu_us", 64, 0.25),
    Goal("CPU, whole service to express-session, 64 connections", "service", "express-session", "cpu_us", 64, 0.30),
    Goal("CPU, whole service to gin with gorilla/sessions, 64 connections", "service", "gin", "cpu_us", 64, 1.0),
    Goal(
        "requests/s, whole service to aiohttp-session, 64 connections",
        "service",
        "aiohttp-session",
        "requests_per_second",
        64,
        2.2,
        at_least=True,
    ),
    Goal("p50, whole service to aiohttp-session, 1 connection", "service", "aiohttp-session", "p50_ms", 1, 1.0),
    Goal("p99, whole service to bare aiohttp, 512 connections", "service", "bare", "p99_ms", 512, 1.5),
    Goal("CPU, near cache on to bare aiohttp, 64 connections", "service-cache", "bare", "cpu_us", 64, 1.35),
    Goal("CPU, two workers to one, 64 connections", "service-2", "service", "cpu_us", 64, 1.1),
    Goal(
        "CPU, asking through nginx to a check, 64 connections", "forward-auth", "service", "cpu_us", 64, 1.3, less="forward-nothing"
    ),
)


def judge(results: Results) -> Iterator[Verdict]:
    for goal in GOALS:
        rows = (goal.row, goal.other, *([goal.less] if goal.less is not None else []))
        medians = [results.median(row, goal.connections, goal.column) for row in rows]
        if not all(medians):
            yield Verdict(goal)
            continue
        figures = [[getattr(each, goal.column) for each in results.of(row, goal.connections)] for row in rows]
        singles = [_ratio(*each) for each in zip(*figures, strict=True)]
        yield Verdict(goal, _ratio(*[median for median in medians if median is not None]), min(singles), max(singles))


def _ratio(row: float, other: float, less: float = 0.0) -> float:
    return (row - less) / other
