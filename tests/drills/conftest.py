"""Chooses the drills: a short set always, and all if a file that they touch has changed since all passed.

`make drills` runs all and writes the digest of these files to `passed.txt`.
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
