"""The tests in docs/testing.md, run unchanged."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from stateroom import Settings, testing
from stateroom.testing.plugin import stateroom_settings as stateroom_settings  # noqa: PLC0414 (a fixture)

from .documents import examples

SHOWN: dict[str, Any] = {}
exec(compile("\n".join(examples("testing.md", "python")), "testing.md", "exec"), SHOWN)  # The page is our own file.
TESTS = [name for name in SHOWN if name.startswith("test_")]


@pytest.mark.parametrize("name", TESTS)
async def test_what_the_page_shows_passes(
    name: str, aiohttp_client: AiohttpClient, tmp_path: Path, stateroom_settings: Settings
) -> None:
    fixtures = {"aiohttp_client": aiohttp_client, "tmp_path": tmp_path, "stateroom_settings": stateroom_settings}
    shown = SHOWN[name]
    await shown(**{each: fixtures[each] for each in inspect.signature(shown).parameters})


def test_the_page_names_everything_there_is() -> None:
    page = "\n".join(examples("testing.md", "python"))
    public = {name for name, each in vars(testing).items() if inspect.isfunction(each) and each.__module__ == testing.__name__}
    assert {name for name in public if not name.startswith("_")} - {"MovableClock"} <= {
        name for name in public if f"testing.{name}" in page
    }
