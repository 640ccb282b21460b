"""The command `stateroom doctor`: its output and its exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stateroom.drills.ports import free_port
from stateroom.sessions.sealing.key_ring import new_key

from ..commands import Command, Serving, environment


def away() -> dict[str, object]:
    """A Redis that does not run."""
    return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": free_port(), "COOKIE_KEYS": new_key(), "REDIS_PASSWORD": "not-to-be-shown"}


def test_a_newcomers_service_is_good(serving: Serving, command: Command) -> None:
    result = command("doctor")
    assert result.returncode == 0, result.stdout
    assert result.stderr == ""
    assert "Embedded server\n  ok " in result.stdout
    assert "is current" in result.stdout
    assert re.search(r"^0 faults, 0 warnings, 0 unseen, 10 ok \(embedded, ", result.stdout, re.MULTILINE)


def test_while_the_service_is_stopped_it_is_good_too(serving: Serving, command: Command) -> None:
    assert serving.stop() == 0
    result = command("doctor")
    assert result.returncode == 0, result.stdout
    assert "the server does not run; `stateroom serve` starts it" in result.stdout


def test_a_fault_is_a_line_with_its_fix_below_and_exit_1(command: Command) -> None:
    settings = away()
    result = command("doctor", **settings)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    at = lines.index(f"Server 127.0.0.1:{settings['REDIS_PORT']}")
    assert lines[at + 1] == "  fault    nothing listens there (connection refused) [server-unreachable]"
    assert lines[at + 2] == "  fix      start it, or correct its address"
    assert result.stderr == ""
    assert "not-to-be-shown" not in result.stdout


def test_json_has_the_same(command: Command) -> None:
    result = command("doctor", "--json", **away())
    document = json.loads(result.stdout)
    assert result.returncode == 1
    assert (document["mode"], document["good"]) == ("single", False)
    [fault] = [finding for finding in document["findings"] if finding["level"] == "fault"]
    assert fault["check"] == "server-unreachable"
    assert fault["fix"]


def test_on_a_terminal_lines_break_in_their_column(tmp_path: Path) -> None:
    main, side = pty.openpty()
    command = [sys.executable, "-m", "stateroom", "doctor"]
    own = environment(tmp_path, away() | {"COLUMNS": 60, "TERM": "xterm"})
    process = subprocess.Popen(command, env=own, cwd=tmp_path, stdin=side, stdout=side, stderr=side)
    os.close(side)
    output = b""
    try:
        while chunk := os.read(main, 4096):
            output += chunk
    except OSError:  # Linux reports this when the other end is closed.
        pass
    assert process.wait(30) == 1
    assert b"\x1b[1;31mfault" in output
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", output).decode().splitlines()
    assert all(len(line) <= 60 for line in plain)
    assert any(line.startswith("           ") for line in plain)


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        ([], {"REDIS_MODE": "sentinel", "COOKIE_KEYS": new_key()}, "REDIS_SENTINELS"),
        (["--admin", "someone"], {}, "--admin-password-file"),
        (["--admin-password-file", "x"], {}, "--admin"),
        (["--admin", "someone", "--admin-password-file", "no-such-file"], {}, "no-such-file"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_2(
    command: Command, arguments: list[str], settings: dict[str, object], named: str
) -> None:
    result = command("doctor", *arguments, **settings)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("stateroom: ")
    assert named in line
    assert result.stdout == ""
