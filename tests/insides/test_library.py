"""Which versions count as tested, and that nothing else uses private names of other libraries."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import stateroom
from stateroom import insides
from stateroom.insides import library
from stateroom.insides.library import Library
from stateroom.insides.of_aiohttp import AIOHTTP
from stateroom.insides.of_prometheus import PROMETHEUS
from stateroom.insides.of_redis import REDIS

SOURCES = Path(stateroom.__file__).parent
OWN_PRIVATE_NAMES = {"drills/worker.py", "sessions/model/session.py"}
"""These use private names of our own classes: a drill takes protections away, and the library looks behind `Session`."""


@pytest.mark.parametrize(
    ("installed", "is_known"),
    [("3.14.0", True), ("3.14.5", True), ("3.14.6.dev0", True), ("3.15.0", False), ("3.1.4", False), ("4.0", False)],
)
def test_the_minor_version_decides(installed: str, is_known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "version", lambda _: installed)
    assert Library("aiohttp", tested=frozenset({"3.14"})).is_known is is_known


def test_these_tests_run_with_tested_versions() -> None:
    assert insides.untested() == []
    assert AIOHTTP.version == version("aiohttp")


def test_an_unknown_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROMETHEUS, "is_known", False)
    assert insides.untested() == [f"prometheus-client {version('prometheus-client')} (tested: 0.26)"]


def test_what_has_no_other_way_is_pinned_to_the_tested_versions() -> None:
    project = tomllib.loads((SOURCES.parents[1] / "pyproject.toml").read_text())["project"]
    [pin] = [each for each in project["dependencies"] if re.match(r"redis\b", each)]
    [(major, minor)] = [tested.split(".") for tested in REDIS.tested]
    assert pin == f"redis>={major}.{minor},<{major}.{int(minor) + 1}"


def test_private_names_of_others_stand_in_one_folder() -> None:
    private = re.compile(r"SLF001|from \w+(\.\w+)*\._\w+ import|getattr\(\w+, \"_[a-z]")
    found = {
        path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if private.search(path.read_text(encoding="utf-8"))
    }
    assert found
    assert {each for each in found if not re.fullmatch(r"insides/of_\w+\.py", each)} == OWN_PRIVATE_NAMES
