"""Links between the project's own pages resolve, with their anchors, also those in messages and comments of the code."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "bench/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
MENTION = re.compile(r"\b(?:docs/)[a-z/-]+\.md(?:#[\w-]+)?")


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(text_of(page))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page, and the ones that the page sets itself."""
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text_of(page)))
    for opening, inline in pairwise(tokens_of(page)):
        if opening.type == "heading_open":
            words = "".join(child.content for child in inline.children or [] if child.type in {"text", "code_inline"})
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            times = sum(each == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", each) is not None for each in found)
            found.add(f"{slug}-{times}" if times else slug)
    return found


def links(page: Path) -> set[str]:
    """The targets of the links and pictures of a page."""
    found = set[str]()
    for token in tokens_of(page):
        for child in [token, *(token.children or [])]:
            if child.type in {"html_inline", "html_block"}:
                found.update(re.findall(r'(?:src|srcset|href)="([^"]+)"', child.content))
            found.update(str(value) for name, value in child.attrs.items() if name in {"href", "src"})
    return {target for target in found if not urlsplit(target).scheme}


def fault(target: str, page: Path) -> str | None:
    """What is wrong with a link of a page, or None."""
    path, _, anchor = unquote(target).partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.exists():
        return f"{page.relative_to(ROOT)}: {target}: there is no such file"
    if anchor and anchor not in anchors(found):
        return f"{page.relative_to(ROOT)}: {target}: there is no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_the_links_of_a_page_resolve(page: Path) -> None:
    assert [each for target in sorted(links(page)) if (each := fault(target, page))] == []


def test_pages_that_the_code_and_the_shipped_files_name_are_there() -> None:
    files = [
        path
        for folder, pattern in (
            ("src", "*.py"),
            ("src", "*.html"),
            ("deploy", "*"),
            ("bench", "*.py"),
            ("tests", "*.py"),
            (".", "*"),
        )
        for path in (ROOT / folder).glob("*" if folder == "." else f"**/{pattern}")
        if path.is_file() and "node_modules" not in path.parts and path.suffix not in {".pyc", ".md"}
    ]
    assert len(files) > 400
    faults = {
        fault(f"{'../' * len(path.relative_to(ROOT).parts[:-1])}{mention}", path)
        for path in files
        for mention in MENTION.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert faults - {None} == set()


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            left += [(page.parent / path).resolve() for target in links(page) if (path := target.partition("#")[0])]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= reached


def test_tests_that_the_pages_name_are_there() -> None:
    faults = []
    for page in PAGES:
        for path, name in re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", text_of(page)):
            found = ROOT / path
            if not found.exists() or (name and not re.search(rf"^(?:async )?def {name}\(", text_of(found), re.MULTILINE)):
                faults.append(f"{page.relative_to(ROOT)}: {path}::{name}")
    assert faults == []
