"""Every public name is used in the files of this folder, which type checkers check like an application."""

from __future__ import annotations

import ast
from pathlib import Path

import stateroom

from ..sources import tree


def test_every_public_name_is_used_as_an_application_would() -> None:
    used = {name for file in Path(__file__).parent.glob("*.py") if file.name != Path(__file__).name for name in names_used(file)}

    assert set(stateroom.__all__) - used == set()


def names_used(file: Path) -> set[str]:
    """Names after `stateroom.` in code, not in strings and comments."""
    nodes = ast.walk(tree(file))
    attributes = (node for node in nodes if isinstance(node, ast.Attribute))
    return {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "stateroom"}
