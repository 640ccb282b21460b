"""What a comparison of two trees found: a ratio for each round, and the median of these.

A rented machine may be twice as slow in one minute as in the next. The two sides of a round are measured within seconds of each
other, so a slow minute falls on both and leaves their ratio alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from .wrk import Round


@dataclass(frozen=True)
class Measured:
    """One side of a round. `cpu_us`: of the service and its Redis together, per request."""

    cpu_us: float
    requests_per_second: float
    failed: int = 0

    @classmethod
    def of(cls, slices: Sequence[Round]) -> Self:
        """Of slices that took equally long: CPU time of them all by the requests of them all."""
        requests = sum(each.requests_per_second for each in slices)
        cpu = sum(each.cpu_us * each.requests_per_second for each in slices)
        return cls(cpu / max(requests, 1), requests / len(slices), sum(each.failed for each in slices))


@dataclass(frozen=True)
class Pair:
    here: Measured
    there: Measured


@dataclass(frozen=True)
class Ratio:
    """Here divided by there. `low`, `high`: the quartiles of the rounds' ratios."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Self:
        if len(ratios) == 1:
            return cls(ratios[0], ratios[0], ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass
class Comparison:
    """A row on both sides, in pairs of the same round."""

    key: str
    name: str
    limit: float
    pairs: list[Pair] = field(default_factory=list)

    def ratio(self, column: str) -> Ratio:
        return Ratio.of([getattr(pair.here, column) / getattr(pair.there, column) for pair in self.pairs])

    def median(self, side: str, column: str) -> float:
        return float(statistics.median(getattr(getattr(pair, side), column) for pair in self.pairs))

    @property
    def failed(self) -> int:
        return sum(pair.here.failed + pair.there.failed for pair in self.pairs)

    @property
    def is_within_limit(self) -> bool:
        """Failed requests cost less than answered ones, so figures with them prove nothing."""
        return not self.failed and self.ratio("cpu_us").median <= self.limit

    @property
    def verdict(self) -> str:
        if self.failed:
            return f"{self.failed} requests failed"
        if self.is_within_limit:
            return "PASS"
        return "over" if self.ratio("cpu_us").low > self.limit else "over, but within the noise: take more --rounds"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "is_within_limit": self.is_within_limit,
            "cpu_ratio": asdict(self.ratio("cpu_us")),
            "requests_per_second_ratio": asdict(self.ratio("requests_per_second")),
            "rounds": [asdict(pair) for pair in self.pairs],
        }


def table(comparisons: Sequence[Comparison]) -> str:
    return "\n".join(_lines(comparisons))


def _lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield "| | CPU here, us/request | there | ratio (quartiles) | requests/s here | there | ratio (quartiles) | limit of CPU | |"
    yield f"|---|{'---:|' * 7}---|"
    for each in comparisons:
        cells = [each.name]
        for column, form in (("cpu_us", ".1f"), ("requests_per_second", ",.0f")):
            cells += [format(each.median(side, column), form) for side in ("here", "there")]
            cells.append(str(each.ratio(column)))
        yield f"| {' | '.join(cells)} | {each.limit:g} | {each.verdict} |"
