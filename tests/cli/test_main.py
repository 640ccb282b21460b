"""The command line itself: its help, and its failures."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import stateroom
from stateroom.settings import decode_cookie_key, decode_jwt_key

from ..commands import Command, Serving


def test_help_names_every_command(command: Command) -> None:
    shown = command("--help")
    assert shown.returncode == 0
    for name in ("serve", "doctor", "users", "sessions", "db", "keys", "healthcheck"):
        assert name in shown.stdout


def test_version_is_that_of_the_package(command: Command) -> None:
    shown = command("--version", PORT="eighty")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"stateroom {stateroom.__version__}\n", "")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == stateroom.__version__


def test_a_misspelt_setting_is_one_line_beside_what_a_command_prints(command: Command) -> None:
    result = command("openapi", REDIS_HSOT="redis")
    assert result.returncode == 0
    assert json.loads(result.stdout)["openapi"].startswith("3.1")
    assert result.stderr == "stateroom: REDIS_HSOT is not a setting of Stateroom; did you mean REDIS_HOST?\n"


def test_keys_prints_a_fresh_key_that_cookie_keys_takes(command: Command) -> None:
    keys = [command("keys").stdout.strip() for _ in range(2)]
    assert keys[0] != keys[1]
    assert [len(decode_cookie_key(key)) for key in keys] == [32, 32]
    first, second = (decode_jwt_key(command("keys", "--jwt").stdout.strip()).public_key() for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (["serve", "--workers", "2"], {"PORT": "99999"}, "PORT"),
        (["db", "upgrade"], {"DATABASE_URL": "none"}, "DATABASE_URL"),
        (["sessions", "revoke"], {}, "--all"),
        (["sessions", "list", "--all", "--user", "ada@example.com"], {}, "--all"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(
    command: Command, arguments: list[str], settings: dict[str, object], named: str
) -> None:
    result = command(*arguments, **settings)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("stateroom: ")
    assert named in line
    assert result.stdout == ""


def test_what_fails_is_one_line_and_exit_1(serving: Serving, command: Command) -> None:
    result = command("users", "disable", "nobody@example.com", LOG_LEVEL="warning")
    assert result.returncode == 1
    [_stores, line] = result.stderr.splitlines()
    assert "nobody@example.com" in line


def test_healthcheck_fails_where_nothing_serves(command: Command) -> None:
    result = command("healthcheck", PORT=1)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("stateroom: GET http://127.0.0.1:1/livez: connection refused; ")
    assert result.stderr.count("\n") == 1


def test_db_upgrade_says_where_the_schema_is(serving: Serving, command: Command) -> None:
    first, second = command("db", "upgrade"), command("db", "upgrade")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    assert "SQLite " in first.stdout


def test_the_openapi_document_is_printed_and_nothing_is_made(command: Command, tmp_path: Path) -> None:
    result = command("openapi", PASSWORD_MIN_LENGTH=11)
    assert result.returncode == 0
    assert json.loads(result.stdout)["components"]["schemas"]["Registration"]["properties"]["password"]["minLength"] == 11
    assert list(tmp_path.iterdir()) == []
