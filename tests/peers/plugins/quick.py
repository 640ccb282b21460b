"""Makes the process that runs other projects' tests quick.

aiohttp's fixtures collect garbage after each test. That takes long in a process with many modules, so what is there already is
left out. blockbuster, if it is installed, would count what fakeredis and the runner read from files.
"""

from __future__ import annotations

import gc
import sys

import pytest

served: list[None] = []
"""One for each application that a plugin has served."""


def without_blockbuster() -> None:
    """Must be called before the tests are imported."""
    sys.modules["blockbuster"] = None  # type: ignore[assignment]


def freeze() -> None:
    """Leave everything that is there out of later collections. Call it when the tests have been imported."""
    gc.collect()
    gc.freeze()


def freeze_what_is_left() -> None:
    """Leave out what the last test left too: its fixtures have collected all garbage, and caches keep its application."""
    gc.freeze()


def check(session: pytest.Session) -> None:
    """The run counts for nothing if no application was served in the plugin's way."""
    if not served:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
