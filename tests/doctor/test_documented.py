"""docs/doctor.md lists exactly the findings that the code can make, with their levels."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path

import stateroom.doctor
from stateroom.doctor.reach import CHECKS
from stateroom.drills import topology
from stateroom.drills.node import server_binary
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command
from ..documents import examples
from ..sources import tree

ROOT = Path(__file__).parents[2]
LEVELS = {"fault": {"fault"}, "warning": {"warning"}, "unseen": {"unseen"}, "judge": {"fault", "warning"}}
ROW = re.compile(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", re.MULTILINE)


def made_by_the_code() -> dict[str, set[str]]:
    """The levels of each finding in the code, by its name."""
    made: dict[str, set[str]] = {name: {"fault"} for names in CHECKS.values() for name in names.values()}
    for path in Path(stateroom.doctor.__file__ or "").parent.glob("*.py"):
        for node in ast.walk(tree(path)):
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


async def test_the_example_of_the_page_is_what_the_command_prints(tmp_path: Path, command: Command) -> None:
    options = {"appendonly": "yes", "maxmemory-policy": "allkeys-lru"}
    async with topology.single(tmp_path / "node", binary=server_binary(), options=options) as node:
        settings = {"REDIS_HOST": node.host, "REDIS_PORT": node.port, "COOKIE_KEYS": new_key()}
        done = await asyncio.to_thread(command, "doctor", **settings)
    [example] = examples("doctor.md", "text")
    told = done.stdout.replace(str(tmp_path), "/srv/stateroom").replace(f"{node.host}:{node.port}", "127.0.0.1:6379")
    assert comparable(told) == comparable(example)


def comparable(output: str) -> str:
    """The output without its versions and times."""
    return re.sub(r"\d+\.\d+ s|Valkey [0-9.]+", "", output)
