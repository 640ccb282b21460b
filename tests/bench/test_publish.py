"""A new table replaces the old one, and nothing else on the page changes."""

from __future__ import annotations

import pytest

from bench.publish import PAGE, with_part

PAGE_OF_TWO = """# Page
<!-- measured: by one -->
old
<!-- end of measured -->
between
<!-- storm: by another -->
kept
<!-- end of storm -->
"""


def test_a_table_takes_the_place_of_the_one_before() -> None:
    page = with_part(PAGE_OF_TWO, "measured", r"| new \1 |")

    assert page == PAGE_OF_TWO.replace("\nold\n", "\n\n| new \\1 |\n\n")
    assert with_part(page, "measured", "old") == PAGE_OF_TWO.replace("\nold\n", "\n\nold\n\n")


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no one part 'chart'"):
        with_part(PAGE_OF_TWO, "chart", "| new |")


@pytest.mark.parametrize("name", ["measured", "storm"])
def test_the_page_of_the_benchmark_has_its_parts(name: str) -> None:
    assert "| new |" in with_part(PAGE.read_text(), name, "| new |")
