"""The lists of settings agree with the code."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from stateroom.settings import Settings
from stateroom.settings.implied import IMPLIED

ROOT = Path(__file__).parents[2]
NAMES = {name.upper() for name in Settings.model_fields}
LINE = re.compile(r"^#([A-Z_]+)=(.*)$", re.MULTILINE)


def listed() -> dict[str, str]:
    return dict(LINE.findall((ROOT / ".env.example").read_text(encoding="utf-8")))


def test_the_example_has_every_setting_and_no_other() -> None:
    assert set(listed()) == NAMES


def test_the_example_gives_the_defaults() -> None:
    for name, text in listed().items():
        default = Settings.model_fields[name.lower()].default
        if default is None or default == () or (text == "" and name.lower() in IMPLIED):
            assert text == "", name
        elif isinstance(default, bool):
            assert text == str(default).lower(), name
        else:
            assert text == str(default), name


@pytest.mark.parametrize("name", sorted(NAMES - {"REDIS_HOST", "REDIS_PORT"}))
def test_taking_the_mark_off_a_line_changes_nothing(name: str) -> None:
    Path(".env").write_text(f"{name}={listed()[name]}\n", encoding="utf-8")
    assert Settings() == Settings(_env_file=None)


def test_each_setting_of_the_example_has_its_meaning() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    bare = [line for before, line in pairwise(lines) if LINE.match(line) and not before.startswith("# ")]
    assert bare == []


def test_the_manual_names_every_setting() -> None:
    manual = ROOT / "README.md"
    if not manual.exists():
        pytest.skip("there is no README.md yet")
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", manual.read_text(encoding="utf-8")))
    assert named >= NAMES
