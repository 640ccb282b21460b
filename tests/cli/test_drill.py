"""The command `stateroom drill`: its scenarios, its refusals, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stateroom import __version__
from stateroom.drills.scenarios import SCENARIOS

from ..commands import environment
from ..processes import said_of

OWN = """
from stateroom.drills.stage import Stage, scenario

@scenario("own", "Nothing at all.")
async def own(stage: Stage) -> None:
    stage.mark("here we are")
    await stage.whole()
"""


def drill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stateroom", "drill", *words]
    return subprocess.run(command, cwd=folder, env=surroundings(folder), capture_output=True, text=True, check=False, timeout=120)


def surroundings(folder: Path) -> dict[str, str]:
    """If a drill leaves files, they are in this folder."""
    return environment(folder, {}) | {"TMPDIR": str(folder)}


def left_in(folder: Path) -> list[str]:
    """The drill's processes that run, and folders of drills."""
    found = [str(path) for path in folder.glob("stateroom-*")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = os.readlink(process / "cwd")
        except OSError:
            continue
        if where.startswith(str(folder / "stateroom-drill-")):
            found.append(said_of(process.name, "cmdline").decode())
    return found


def test_it_names_its_scenarios(tmp_path: Path) -> None:
    lines = drill(tmp_path, "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    done = drill(tmp_path, "flush", "--dry-run")
    assert done.returncode == 0
    assert "flush: FLUSHALL" in done.stdout
    assert not list(tmp_path.glob("stateroom-*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "there is no scenario nonsense; the scenarios are kill-primary"),
        (["./none.py"], "there is no file ./none.py"),
        (["./empty.py"], "has no scenario"),
        (["--target", "http://127.0.0.1:1"], "--target and --sentinels work only together"),
        (
            ["flush", "--target", "http://127.0.0.1:1", "--sentinels", "127.0.0.1:1"],
            "with --target you can play only manual-failover",
        ),
        (["--target", "http://127.0.0.1:1", "--sentinels", "nowhere"], "is not host:port"),
        (["--target", "http://127.0.0.1:1", "--sentinels", "127.0.0.1:1", "--yes"], "too few Sentinels reply"),
        (["nonsense", "--compose"], "no scenario nonsense for containers"),
        (
            ["--compose", "--target", "http://127.0.0.1:1", "--sentinels", "127.0.0.1:1"],
            "--compose and --target cannot be used together",
        ),
        (["flush", "--report", "empty.py/out"], "--report: cannot write to empty.py/out: Not a directory; give another folder"),
        (["flush", "--json", "none/drill.json"], "--json: cannot write none/drill.json: No such file or directory"),
        (["flush", "--picture", "none/drill.svg"], "--picture: cannot write none/drill.svg: No such file or directory"),
        (["flush", "kill-primary", "--picture", "drill.svg"], "--picture draws one scenario, not 2; give one"),
        (["--picture", "drill.svg"], "for example kill-primary"),
        (["--compose", "--picture", "drill.svg"], "--picture works only without --compose"),
        (["flush", "--slowest", "5"], "--slowest works only with --compose"),
    ],
)
def test_what_cannot_be_played_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "empty.py").write_text("")
    done = drill(tmp_path, *words)
    assert done.returncode in {1, 2}
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.timeout(150)
def test_a_scenario_of_ones_own_is_played_and_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    done = drill(tmp_path, "./own.py", "--no-peer", "--report", "out", "--picture", "own.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "here we are" in done.stdout
    assert "own (stateroom): passed" in done.stdout
    [figures] = json.loads((tmp_path / "out" / "drill.json").read_text())
    assert figures["passed"]
    assert "<h1>1 scenario passed</h1>" in (tmp_path / "out" / "drill.html").read_text()
    assert figures["conditions"]["stateroom"].startswith(__version__)
    assert f"Stateroom: {__version__}" in done.stdout
    assert "1 scenario passed" in done.stdout
    picture = (tmp_path / "own.svg").read_text()
    assert "in the drill own" in picture
    assert "picture: own.svg" in done.stdout
    assert left_in(tmp_path) == []


@pytest.mark.timeout(150)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Not even a server that hangs is left."""
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "stateroom", "drill", "hang-primary", "--no-peer"],
            cwd=tmp_path, env=surroundings(tmp_path), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    while "hangs (SIGSTOP)" not in (tmp_path / "said").read_text():
        assert process.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.05)  # There is no event for another process' file.
    assert left_in(tmp_path)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert left_in(tmp_path) == []
    assert "Traceback" not in (tmp_path / "said").read_text()
