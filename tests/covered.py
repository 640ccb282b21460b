"""`python -m tests.covered`: how many lines of each room the tests ran, after `make test COVERAGE=1`.

A table of rooms, because one of two hundred files is not read. `coverage html` shows the lines.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException

import stateroom

PACKAGE = Path(stateroom.__file__).parent
HEADING = "lines of"


@dataclass
class Lines:
    """`0 <= run <= there`"""

    there: int = 0
    run: int = 0

    def __str__(self) -> str:
        return f"{self.there:7,} {self.there - self.run:7,} {self.run / max(self.there, 1):6.0%}"


def main() -> None:
    measured = Coverage()
    try:
        measured.load()
        rooms = by_room(measured)
    except CoverageException as error:
        sys.exit(f"nothing was measured: {error}")
    print("\n".join(table(rooms)))


def by_room(measured: Coverage) -> dict[str, Lines]:
    rooms: defaultdict[str, Lines] = defaultdict(Lines)
    for file in sorted(PACKAGE.rglob("*.py")):
        _, lines, _, missing, _ = measured.analysis2(str(file))
        for room in (room_of(file), "total"):
            rooms[room].there += len(lines)
            rooms[room].run += len(lines) - len(missing)
    return {**{name: rooms[name] for name in sorted(rooms) if name != "total"}, "total": rooms["total"]}


def room_of(file: Path) -> str:
    """The folders below the package, two at most; files at its top are one room."""
    return "/".join(file.relative_to(PACKAGE).parent.parts[:2]) or "(top)"


def table(rooms: dict[str, Lines]) -> list[str]:
    width = max(map(len, [HEADING, *rooms]))
    heading = f"{HEADING:{width}} {'there':>7} {'missed':>7} {'run':>6}"
    return [heading, *(f"{name:{width}} {lines}" for name, lines in rooms.items())]


if __name__ == "__main__":
    main()
