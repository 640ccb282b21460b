"""Which drills are run: a short set always, all where the files that they touch have changed since all passed.

`make drills` runs them all and notes in `passed.txt` what they passed on.
"""

from __future__ import annotations

import os

import pytest

from .touched import digest, noted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    is_needed = os.environ.get("DRILLS") == "all" or digest() != noted()
    for item in items:
        if not is_needed and item.get_closest_marker("long_drill"):
            item.add_marker(pytest.mark.skip(reason="passed on these very files (tests/drills/passed.txt); DRILLS=all runs it"))
