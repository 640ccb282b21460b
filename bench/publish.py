"""Writes the last measured figures into docs/benchmark.md.

A part of the page stands between `<!-- NAME: ... -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re

from .processes import HERE

PAGE = HERE.parent / "docs" / "benchmark.md"


def publish(name: str, text: str) -> None:
    """Replace the part of the page with this name by `text`."""
    PAGE.write_text(with_part(PAGE.read_text(), name, text))


def with_part(page: str, name: str, text: str) -> str:
    """The page with one part replaced. Raises `ValueError` if it has no such part."""
    part = re.compile(rf"(<!-- {name}: [^\n]* -->).*?(<!-- end of {name} -->)", re.DOTALL)
    made, count = part.subn(lambda found: f"{found[1]}\n\n{text.strip()}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has no one part {name!r}")
    return made
