"""Reads the pages of `docs/`, and the examples in them that tests run."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def examples(name: str, language: str) -> list[str]:
    """The code blocks of a page in one language, in order."""
    return blocks(page(name), language)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a Markdown text in one language, in order. Blocks in lists, which are indented, are left out."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
