"""Administration in a folder where nothing was ever started says so, and makes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..commands import Command, Serving

COMMANDS = (
    ("users", "list"),
    ("users", "disable", "ada@example.com"),
    ("users", "erase", "ada@example.com", "--yes"),
    ("access", "check", "--url", "https://app.example.com/", "--user", "ada@example.com"),
    ("sessions", "list", "--all"),
    ("sessions", "revoke", "--all", "--yes"),
    ("doctor",),
    ("doctor", "--json"),
    ("db", "upgrade"),
    ("db", "lease", "1"),
    ("db", "adopt", "--yes"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_store_that_does_not_exist_is_refused_and_not_made(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("stateroom: STATE_DIR: ")
    assert str(tmp_path / "var") in line
    assert "run this command in the service's folder" in line
    assert list(tmp_path.iterdir()) == []


def test_an_embedded_server_that_never_ran_here_is_refused_although_the_database_exists(command: Command, serving: Serving) -> None:
    assert serving.stop() == 0
    for path in (serving.folder / "var").glob("valkey.*"):
        path.unlink()
    before = set((serving.folder / "var").rglob("*"))
    ended = command("sessions", "revoke", "--all", "--yes")
    assert ended.returncode == 2
    assert "no embedded server was ever started in" in ended.stderr
    assert set((serving.folder / "var").rglob("*")) == before


def test_an_sqlite_file_that_does_not_exist_is_named(command: Command, tmp_path: Path) -> None:
    ended = command("users", "list", DATABASE_URL=f"sqlite:///{tmp_path}/users.db")
    assert ended.returncode == 2
    assert f"DATABASE_URL: there is no user database {tmp_path}/users.db" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_each_command_names_its_stores_and_speaks_json(command: Command, serving: Serving) -> None:
    serving.sign_in()
    state = serving.folder / "var"
    named = {"store": f"embedded server in {state}", "database": f"SQLite {state}/stateroom.db"}

    def asked(*arguments: str) -> dict[str, object]:
        told = command(*arguments, "--json")
        assert told.returncode in {0, 1}, told.stderr
        document: dict[str, object] = json.loads(told.stdout)
        assert named.items() <= document.items()
        return document

    assert [user["email"] for user in asked("users", "list")["users"]] == ["demo@example.com"]  # type: ignore[attr-defined]
    assert [each["user"] for each in asked("sessions", "list", "--all")["sessions"]] == ["demo@example.com"]  # type: ignore[attr-defined]
    assert asked("sessions", "revoke", "--user", "demo@example.com")["sessions_ended"] == 1
    assert asked("users", "disable", "demo@example.com")["user"]["disabled"] is True  # type: ignore[index]
    assert asked("users", "enable", "demo@example.com")["user"]["disabled"] is False  # type: ignore[index]
    assert "findings" in asked("doctor")
    plain = command("users", "list")
    assert f"sessions: {named['store']}; user database: {named['database']}" in plain.stderr
    assert "sessions:" not in plain.stdout
