"""Invented figures, to test how measured ones are processed."""

from __future__ import annotations

from bench.results import Results
from bench.wrk import Round


def results(cpu_us: dict[str, list[float]], *, connections: int = 64, failed: int = 0) -> Results:
    """Results with these rows: the CPU times of the rounds, by key."""
    made = Results((connections,))
    for key, rounds in cpu_us.items():
        made.names[key] = key.title()
        for each in rounds:
            made.add(key, connections, Round(1e6 / each, 1.5, 4.25, each, 1.0, failed))
    return made
