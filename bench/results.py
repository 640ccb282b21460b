"""The results of a run: each row's rounds at each number of connections, and the rows that were left out."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .processes import HERE
from .wrk import COLUMNS, Round, medians, spread

RESULTS = HERE / "results"


@dataclass
class Results:
    """The results. `names`: of the rows, by key, in the order of the table. `left_out`: the reasons, by name."""

    connections: tuple[int, ...]
    names: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, dict[int, list[Round]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, connections: int, measured: Round) -> None:
        self.rounds.setdefault(key, {}).setdefault(connections, []).append(measured)

    def of(self, key: str, connections: int) -> list[Round]:
        return self.rounds.get(key, {}).get(connections, [])

    def median(self, key: str, connections: int, column: str) -> float | None:
        rounds = self.of(key, connections)
        return statistics.median(getattr(each, column) for each in rounds) if rounds else None

    def failures(self) -> Iterator[tuple[str, int, int]]:
        """The rows and numbers of connections with failed requests, and how many failed."""
        for key, by_connections in self.rounds.items():
            for connections, rounds in by_connections.items():
                if failed := sum(each.failed for each in rounds):
                    yield self.names[key], connections, failed

    def as_json(self) -> dict[str, Any]:
        return {
            "columns": COLUMNS,
            "left_out": self.left_out,
            "rows": {
                key: {
                    "name": self.names[key],
                    "connections": {number: _as_json(rounds) for number, rounds in by_connections.items()},
                }
                for key, by_connections in self.rounds.items()
            },
        }


def _as_json(rounds: list[Round]) -> dict[str, Any]:
    return {"medians": medians(rounds), "spread": spread(rounds), "rounds": [asdict(each) for each in rounds]}
