"""The commands and paths of CONTRIBUTING.md and SECURITY.md exist, and the quick ones work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKE = sorted(set(re.findall(r"\bmake ([a-z.][\w./-]*)", TEXT)) - {"sure"})
FOLDERS = re.findall(r"^\| `([a-z/]+)` \|", TEXT, re.MULTILINE)


def test_the_loop_for_one_file_of_tests_works() -> None:
    (command,) = re.findall(r"^\.venv/bin/python (-m pytest tests/.*)$", TEXT, re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_targets_were_found() -> None:
    assert {"run", "test", "lint", "format", "drills", "lock", ".venv/.installed-dev"} <= set(MAKE)


@pytest.mark.parametrize("target", MAKE)
def test_targets_of_make_exist(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_folders_exist() -> None:
    assert "src/stateroom" in FOLDERS
    assert [folder for folder in FOLDERS if not (ROOT / folder).is_dir()] == []


def test_the_version_of_a_report_can_be_printed() -> None:
    assert "`stateroom --version`" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "stateroom", "--version"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("stateroom ")
