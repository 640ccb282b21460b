"""Which drills are run: a short set always, all where the files that they touch have changed since all passed.

A session in which all of them pass notes in `passed.txt` what they passed on (`pass_note.py`). `make drills` runs them all.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .pass_note import PassNote
from .touched import digest, note, noted


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(PassNote(Path(__file__).parent, digest, note), "pass_note_of_drills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    is_needed = os.environ.get("DRILLS") == "all" or digest() != noted()
    for item in items:
        if not is_needed and item.get_closest_marker("long_drill"):
            item.add_marker(pytest.mark.skip(reason="passed on these very files (tests/drills/passed.txt); DRILLS=all runs it"))
