"""The result of an administration command: lines for administrators, and a document for programs (`--json`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from ..plurals import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .named_stores import NamedStores


@dataclass(frozen=True, slots=True)
class Answer:
    """`lines` and `document` have the same content. `document` contains only what JSON can express."""

    lines: Sequence[str]
    document: Mapping[str, Any]

    def show(self, stores: NamedStores, *, as_json: bool) -> None:
        """Print the result to standard output. Only the document names the stores: `run` prints them to stderr for the lines."""
        if as_json:
            print(json.dumps({**stores.document(), **self.document}, indent=2, ensure_ascii=False))
        else:
            for line in self.lines:
                print(line)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A header line and a line for each row, with aligned columns. Two spaces or more separate two columns.

    The lines are the same on a terminal and in a pipe. `--json` is for scripts.
    """
    table = [head, *rows]
    widths = [max(cell_len(row[number]) for row in table) for number in range(len(head))]
    return ["  ".join(map(set_cell_size, row, widths)).rstrip() for row in table]


def ended(count: int | None) -> str:
    """How many sessions a command has ended. `count`: None if it is unknown because Redis is unavailable."""
    if count is None:
        return "the sessions have ended; their number is unknown, because Redis is unavailable"
    return f"{counted(count, 'session')} ended"
