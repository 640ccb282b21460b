"""Shells complete the command: each is asked what its own script offers for a line that is half written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ..commands import SOURCES, TIMEOUT_SECONDS
from ..conftest import require_tool

# What each shell is told to do: source the script, and print what it offers for `stateroom LINE`.
ASK = {
    "bash": 'source "$HOME/script"; COMP_WORDS=(stateroom {words}); COMP_CWORD={last}; '
    '_stateroom_completion stateroom; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": 'compdef() {{ : }}; _arguments() {{ print -r -- "$@" }}; source "$HOME/script"; words=(stateroom {words}); '
    "CURRENT={last}+1; _stateroom_completion",
    "fish": 'source "$HOME/script"; complete -C "stateroom {words}"',
}
INSTALLED = {
    "bash": ".bash_completions/stateroom.sh",
    "zsh": ".zfunc/_stateroom",
    "fish": ".config/fish/completions/stateroom.fish",
}


class Home:
    """A home folder with `stateroom` on the path, for one shell."""

    def __init__(self, folder: Path, shell: str) -> None:
        require_tool(shell)
        self.folder = folder
        self._shell = shell
        program = folder / "bin" / "stateroom"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stateroom "$@"\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._shell, "-c", script],
            env={
                "HOME": str(self.folder), "PYTHONPATH": SOURCES, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "LC_ALL": "C.UTF-8", **environment,
            },
            cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip

    def offered(self, *words: str) -> str:
        """What the shell offers for the last of these words."""
        told = self.run(ASK[self._shell].format(words=" ".join(words), last=len(words)))
        assert told.returncode == 0, told.stderr
        return told.stdout


@pytest.fixture(params=["bash", "zsh", "fish"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(tmp_path, request.param)


def test_a_shell_completes_commands_and_options_by_the_script_that_is_shown_in_it(home: Home) -> None:
    shown = home.run("stateroom --show-completion; exit")
    assert (shown.returncode, shown.stderr) == (0, "")
    (home.folder / "script").write_text(shown.stdout, encoding="utf-8")
    offered = home.offered("users", "e")
    assert {"enable", "erase", "export"} <= set(offered.replace('"', " ").split())
    assert "disable" not in offered


def test_completion_is_installed_where_the_shell_looks(home: Home) -> None:
    done = home.run("stateroom --install-completion; exit")
    assert (done.returncode, done.stderr) == (0, "")
    assert "_STATEROOM_COMPLETE" in (home.folder / INSTALLED[home._shell]).read_text(encoding="utf-8")


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = Home(tmp_path, "bash").run("stateroom --install-completion; exit", HOME="/proc")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("stateroom: /proc/")
    assert line.endswith("write the output of `stateroom --show-completion` to a file that your shell reads")


def test_wrong_settings_are_still_one_line_and_do_not_disturb_completion(tmp_path: Path) -> None:
    home = Home(tmp_path, "bash")
    failed = home.run("stateroom serve; exit", PORT="eighty")
    assert (failed.returncode, failed.stderr) == (2, "stateroom: PORT: must be a whole number; for example 8080\n")
    asked = home.run(
        "stateroom; exit", PORT="eighty", _STATEROOM_COMPLETE="complete_bash", COMP_WORDS="stateroom heal", COMP_CWORD="1"
    )
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "healthcheck\n", "")
