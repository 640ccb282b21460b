"""docs/drills.md: its commands are valid, its table names every scenario, and its own scenario can be loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stateroom.cli import app
from stateroom.drills.scenarios import SCENARIOS, find

from ..documents import examples, page

PAGE = "drills.md"
COMMANDS = [line for block in examples(PAGE, "sh") for line in block.splitlines() if "--target" not in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_valid(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program, *words = command.split()
    assert program == "stateroom"
    done = CliRunner().invoke(app, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "and play:" in done.output


def test_the_table_names_every_scenario() -> None:
    [table] = re.findall(r"\| scenario \| what happens \|\n(.*?)\n\n", page(PAGE), re.DOTALL)
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(SCENARIOS)


def test_its_own_scenario_can_be_loaded(tmp_path: Path) -> None:
    [code] = examples(PAGE, "python")
    file = tmp_path / "two_kills.py"
    file.write_text(code, encoding="utf-8")
    [scenario] = find(str(file))
    assert scenario.name == "two-kills"
    assert scenario.degrades
