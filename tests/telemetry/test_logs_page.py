"""docs/logs.md lists exactly the events that the code logs, with their levels, and its examples work."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import stateroom

from ..commands import SOURCES
from ..documents import examples, page
from ..sources import tree

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
LOGGERS = {"log", "_log"}
ROW = re.compile(r"^\| `([a-z_]+)` \| ([a-z, ]+) \|", re.MULTILINE)
SECURITY_ROW = re.compile(r"^\| `([a-z_]+)` \| ((?:`[a-z_]+`(?:, )?)+) \|", re.MULTILINE)


@functools.cache
def trees() -> dict[Path, ast.Module]:
    return {path: tree(path) for path in Path(stateroom.__file__).parent.rglob("*.py")}


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path, found in trees().items():
        for node in ast.walk(found):
            yield path, node


def calls() -> Iterator[ast.Call]:
    return (node for _, node in nodes() if isinstance(node, ast.Call))


def level_of(call: ast.Call) -> str | None:
    """The level that a call of one of our loggers logs with. None for all other calls."""
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in LOGGERS:
        return LEVELS.get(function.attr)
    return None


def name_of(call: ast.Call) -> str:
    assert isinstance(call.args[0], ast.Constant), f"the name of an event is a literal: {ast.unparse(call)}"
    return str(call.args[0].value)


def logged() -> dict[str, set[str]]:
    """The levels of each event in the code, by its name."""
    made: dict[str, set[str]] = {}
    for call in calls():
        if (level := level_of(call)) is not None:
            made.setdefault(name_of(call), set()).add(level)
    return made


def security_events() -> dict[str, set[str]]:
    """The fields of each security event in the code, by its name."""
    return {
        name_of(call): {str(keyword.arg) for keyword in call.keywords}
        for call in calls()
        if isinstance(call.func, ast.Name) and call.func.id == "security_event"
    }


def section(heading: str) -> str:
    return page("logs.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_event_is_documented_with_its_level() -> None:
    documented = {name: set(levels.split(", ")) for name, levels in ROW.findall(section("All other events"))}
    made = logged()
    assert {"request", "redis_failover", "loop_failed", "settings_files_read"} <= made.keys()
    assert documented == made


def test_every_field_of_an_event_is_documented() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| [a-z, ]+ \| (.+) \|$", section("All other events"), re.MULTILINE))
    common = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`.+?) \|", section("Fields"), re.MULTILINE))))
    assert {"reason", "detail", "fix"} <= common
    missing = {
        (name, field)
        for call in calls()
        if level_of(call) is not None
        for name, field in ((name_of(call), keyword.arg) for keyword in call.keywords)
        if field is not None and field not in common and f"`{field}`" not in rows[name]
    }
    assert missing == set()


def test_every_security_event_is_documented_with_its_fields() -> None:
    documented = {
        name: set(re.findall(r"`([a-z_]+)`", fields)) for name, fields in SECURITY_ROW.findall(section("Security events"))
    }
    made = security_events()
    assert {"sign_in", "sign_in_failed", "revoke_all"} <= made.keys()
    assert documented == made


def test_every_module_logs_through_a_logger_of_the_usual_name() -> None:
    """Otherwise this test would not see its events."""
    for path, node in nodes():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "get_logger":
            assert ast.unparse(node.targets[0]) in {*LOGGERS, "_security"}, path


def test_the_example_lines_have_the_fields_of_the_table() -> None:
    (lines,) = examples("logs.md", "json")
    documented = set(re.findall(r"^\| `([a-z_]+)`", section("Fields"), re.MULTILINE))
    for line in lines.splitlines():
        fields = json.loads(line)
        assert {"event", "level", "logger", "time", "request_id"} <= fields.keys()
        assert fields.keys() - {"method", "route", "status", "ms"} <= documented


def test_the_configuration_of_the_library_works() -> None:
    (configuration,) = examples("logs.md", "python")
    program = configuration + (
        "import stateroom\n"
        "from stateroom.logs import get_logger\n"
        "stateroom.security_event('sign_in', session='ttYfOJOfpG6W4O6xHIeEPA', user_id=1)\n"
        "get_logger('stateroom.example').info('not_written')\n"
        "get_logger('stateroom.example').warning('written')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": SOURCES}, capture_output=True, text=True, check=True)
    message = "sign_in session=ttYfOJOfpG6W4O6xHIeEPA user_id=1 security=True"
    assert message in done.stderr
    assert message in page("logs.md")
    assert "stateroom.example written" in done.stderr
    assert "not_written" not in done.stderr
