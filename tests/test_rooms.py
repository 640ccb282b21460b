"""How the files of the package import each other, type checking included: on floors, and without a circle."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import stateroom
from stateroom import Session, SessionManager

from .sources import tree

PACKAGE = Path(stateroom.__file__).parent
Graph = dict[str, set[str]]


def imports_of(package: Path) -> Graph:
    """Which file imports which, by their paths in the package. A package's `__init__` hands names on: it is no target."""
    files = {_module(path, package): path for path in package.rglob("*.py")}
    graph: Graph = {}
    for module, path in files.items():
        home = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = set[str]()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.level:
                steps = home.split(".")
                base = ".".join([*steps[: len(steps) - node.level + 1], *([node.module] if node.module else [])])
                for alias in node.names:
                    target = files.get(f"{base}.{alias.name}") or files.get(base)
                    if target is not None and target != path and target.name != "__init__.py":
                        found.add(str(target.relative_to(package)))
        graph[str(path.relative_to(package))] = found
    return graph


def _module(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floors(graph: Graph) -> list[list[str]]:
    """The files, lowest floor first: each imports files of lower floors only. Raises `ValueError` for files in a circle."""
    left, found = dict(graph), list[list[str]]()
    while left:
        floor = sorted(name for name, targets in left.items() if not targets & left.keys())
        if not floor:
            raise ValueError(f"these files import each other, or a file that does: {sorted(left)}")
        found.append(floor)
        for name in floor:
            del left[name]
    return found


def test_no_two_files_import_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    graph = imports_of(PACKAGE)
    found = floors(graph)
    with capsys.disabled():
        print(f"\n{len(graph)} files on {len(found)} floors")
        for number, floor in enumerate(found):
            print(f"{number:3}  {' '.join(floor)}")
    assert sum(map(len, found)) == len(graph)
    assert graph["sessions/manager/steps.py"], "relative imports are understood"


def test_the_rooms_of_sessions_stand_on_seven_floors_at_most() -> None:
    graph = imports_of(PACKAGE / "sessions")
    rooms: Graph = {}
    for name, targets in graph.items():
        rooms.setdefault(name.split("/")[0], set()).update(target.split("/")[0] for target in targets)
    for name, targets in rooms.items():
        targets.discard(name)
    assert len(floors(rooms)) <= 7


def test_a_circle_is_noticed() -> None:
    with pytest.raises(ValueError, match="import each other"):
        floors({"a.py": {"b.py"}, "b.py": {"a.py"}, "c.py": set()})


def test_the_fields_of_a_stored_session_are_named_in_one_file() -> None:
    letter = re.compile(r"""\bb(["'])[vucrdigampz]\1""")
    rooms = [PACKAGE / room for room in ("sessions", "request", "accounts", "cli")]
    found = {path for room in rooms for path in room.rglob("*.py") if letter.search(path.read_text(encoding="utf-8"))}
    assert found == {PACKAGE / "sessions/model/fields.py"}


SESSION_NAMES = {
    "auth_time", "change", "clear", "created_at", "degraded", "discard_changes", "ended", "evicted", "expires_at", "expires_in",
    "get", "id", "idle_seconds", "is_persistent", "is_signed_in", "is_stored", "is_writable", "items", "keys", "last_access",
    "metadata", "pop", "popitem", "renew", "restored", "save", "setdefault", "update", "user_id", "values",
}  # fmt: skip
MANAGER_NAMES = {
    "anonymous", "clock", "count_active", "create", "deployment", "derive_key", "end", "exists", "generation", "has_access_tokens",
    "kept_of_user", "list", "load", "mint_access_token", "opens", "ping", "pool_figures", "public_token_keys", "own", "recognises",
    "renew", "renewal_horizon",
    "end_everybody", "replace_keys", "replace_token_keys", "report_unknown", "revoke_all",
    "revoke", "rotate", "save", "seal", "settings", "sign_in", "store_state", "sweep", "was_replaced",
}  # fmt: skip


@pytest.mark.parametrize(("face", "names"), [(Session, SESSION_NAMES), (SessionManager, MANAGER_NAMES)])
def test_a_face_has_these_public_names_and_each_is_described(face: type, names: set[str]) -> None:
    assert {name for name in dir(face) if not name.startswith("_")} == names
    ours = {name for base in face.__mro__ if base.__module__.startswith("stateroom.") for name in vars(base)}
    for name in names:
        member = inspect.getattr_static(face, name)
        described = getattr(member, "__func__", member)
        text = inspect.getdoc(described) or ""
        assert text, name
        if not isinstance(described, property) and name in ours and inspect.iscoroutinefunction(described):
            assert "Raises" in text or "raises" in text or "could not be done" in text, f"{name} does not say what it raises"


def test_nothing_that_a_handler_may_use_shows_the_token() -> None:
    record = {"token", "ref", "fields", "generation", "sighting"}
    assert not record & {name for name in dir(Session) if not name.startswith("_")}
