"""Which version of a library is installed, and whether we have tested its insides."""

from __future__ import annotations

from importlib.metadata import version


class Library:
    """One installed distribution. `tested`: the minor versions whose private names we have tested, such as `3.14`."""

    def __init__(self, distribution: str, *, tested: frozenset[str]) -> None:
        self.distribution = distribution
        self.tested = tested
        self.version = version(distribution)
        self.is_known = ".".join(self.version.split(".")[:2]) in tested

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (tested: {', '.join(sorted(self.tested))})"
