"""Reads the metrics that expressions use and that the service exports, and runs Prometheus' own tool."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stateroom.telemetry.metrics import Metrics

from ..conftest import require_tool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))

OF_PROMETHEUS = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})
"""The series that Prometheus itself makes."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_COMMENT = re.compile(r"#.*")
_MATCHERS_OR_RANGE = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])")
_WORDS = frozenset({
    *("and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right"),
    *("bool", "offset", "start", "end", "inf", "nan"),
})  # fmt: skip


def metrics_of(expression: str) -> set[str]:
    """The names of all series that an expression uses."""
    for noise in (_STRING, _COMMENT, _MATCHERS_OR_RANGE, _LABEL_LIST):
        expression = noise.sub(" ", expression)
    return {name for name in _NAME.findall(expression) if name.lower() not in _WORDS}


@cache
def load(path: Path) -> Any:
    """The document in a YAML file. It is cached, so callers must not change it."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def exported() -> set[str]:
    """The names of all series that the service can export, also of those without a sample yet."""
    names: set[str] = set()
    for family in Metrics("").registry.collect():
        match family.type:
            case "counter":
                names.add(f"{family.name}_total")
            case "histogram":
                names |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
            case _:
                names |= {family.name, *(sample.name for sample in family.samples)}
    return names


def rules() -> list[dict[str, Any]]:
    """All rules in the shipped files, recording and alerting."""
    groups = [group for path in RULES for group in load(path)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([require_tool("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
