"""Which drills are run: a short set always, all where the files that they touch have changed since all passed.

`make drills` runs them all and notes in `passed.txt` what they passed on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stateroom.drills.scratch import keep, scratch

from .touched import digest, noted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    is_needed = os.environ.get("DRILLS") == "all" or digest() != noted()
    for item in items:
        if not is_needed and item.get_closest_marker("long_drill"):
            item.add_marker(pytest.mark.skip(reason="passed on these very files (tests/drills/passed.txt); DRILLS=all runs it"))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory, as `stateroom drill` has it; afterwards it is all where pytest keeps it."""
    with scratch() as folder:
        yield folder
        keep(folder, tmp_path)
