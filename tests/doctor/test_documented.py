"""docs/doctor.md lists exactly the findings that the code can make, with their levels."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import stateroom.doctor
from stateroom.doctor.reach import CHECKS

ROOT = Path(__file__).parents[2]
LEVELS = {"fault": {"fault"}, "warning": {"warning"}, "unseen": {"unseen"}, "judge": {"fault", "warning"}}
ROW = re.compile(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", re.MULTILINE)


def made_by_the_code() -> dict[str, set[str]]:
    """The levels of each finding in the code, by its name."""
    made: dict[str, set[str]] = {name: {"fault"} for names in CHECKS.values() for name in names.values()}
    for path in Path(stateroom.doctor.__file__ or "").parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LEVELS):
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                made.setdefault(str(node.args[0].value), set()).update(LEVELS[node.func.id])
    return made


def test_every_finding_is_documented_with_its_level() -> None:
    made = made_by_the_code()
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    documented = {name: set(levels.split(", ")) for name, levels in ROW.findall(text)}
    assert {"sentinel-tls", "eviction", "clock", "fleet"} <= made.keys()
    assert documented == made
