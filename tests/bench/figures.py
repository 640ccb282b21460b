"""Made-up figures, for what is done with measured ones."""

from __future__ import annotations

from bench.results import Results
from bench.wrk import Round


def results(cpu_us: dict[str, list[float]], *, connections: int = 64, failed: int = 0) -> Results:
    """Rows by key, each with the CPU time of its rounds."""
    made = Results((connections,))
    for key, rounds in cpu_us.items():
        made.names[key] = key.title()
        for each in rounds:
            made.add(key, connections, Round(1e6 / each, 1.5, 4.25, each, 1.0, failed))
    return made
