"""The result of a command of administration: lines for people, and a document for programs (`--json`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .named_stores import NamedStores


@dataclass(frozen=True, slots=True)
class Answer:
    """`lines` and `document` say the same. `document`: what JSON can hold."""

    lines: Sequence[str]
    document: Mapping[str, Any]

    def show(self, stores: NamedStores, *, as_json: bool) -> None:
        """Print it to standard output. The document names the stores too; the lines do not, because scripts read them."""
        if as_json:
            print(json.dumps({**stores.document(), **self.document}, indent=2, ensure_ascii=False))
        else:
            for line in self.lines:
                print(line)
