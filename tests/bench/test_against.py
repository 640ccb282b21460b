"""Both sides are measured in each round, each goes first as often as the other, and the exit status tells of the limit."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import against, trees
from bench.__main__ import _options
from bench.paired import Measured, Pair
from bench.processes import NotRunning
from bench.rows import ROWS, Row, Target
from bench.trees import Tree
from bench.wrk import Round
from tests.conftest import require_tool

LIBRARY = next(row for row in ROWS if row.key == "library")
HERE, THERE = Tree("here", Path("/here")), Tree("there", Path("/there"))


class Loaded:
    """Rows that only note when they are started and loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[str] = []
        self.measured: list[str] = []
        self.row = Row("row", "Row", self.start, is_stateroom=True)
        self.refuses = False
        monkeypatch.setattr(against, "load", lambda port, **_: "")
        monkeypatch.setattr(against, "measure", self.measure)
        monkeypatch.setattr(against, "must_know_its_user", lambda name, target: None)

    @contextlib.contextmanager
    def start(self, folder: Path, **settings: str) -> Iterator[Target]:
        if self.refuses:
            raise NotRunning("it does not answer")
        root = Path(settings["PYTHONPATH"].split(":")[0]).parent
        is_here = root in (HERE.root, trees.ROOT)
        self.started.append("here" if is_here else "there")
        yield Target(port=1 if is_here else 2, pid=0)

    def measure(self, pids: list[int], port: int, **_: Any) -> Round:
        self.measured.append("here" if port == 1 else "there")
        return Round(1000, 1, 2, cpu_us=50 if port == 1 else 40, redis_commands=1)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setattr(Target, "pids", lambda self: [])
    return Loaded(monkeypatch)


def test_sides_take_turns_and_the_first_one_changes_each_time_and_each_round(loaded: Loaded) -> None:
    pairs = [against.one_round(number, loaded.row, HERE, THERE, seconds=2) for number in (0, 1)]

    assert loaded.started == ["here", "there", "there", "here"]
    assert loaded.measured == ["here", "there", "there", "here", "there", "here", "here", "there"]
    assert pairs == [Pair(Measured(50, 1000), Measured(40, 1000))] * 2


def test_a_side_that_does_not_start_is_named(loaded: Loaded) -> None:
    loaded.refuses = True
    with pytest.raises(SystemExit, match="Row of here: it does not answer"):
        against.one_round(0, loaded.row, HERE, THERE, seconds=1)


@pytest.mark.parametrize(("limit", "status"), [(1.25, 0), (1.24, 1)])
def test_the_exit_status_tells_whether_a_row_is_over_the_limit(
    limit: float, status: int, loaded: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert against.run("HEAD", [loaded.row], rounds=3, seconds=1, limit=limit, results=tmp_path / "results") == status

    (written,) = (tmp_path / "results").glob("against-*.json")
    figures = json.loads(written.read_text())
    assert len(figures["rows"]["row"]["rounds"]) == 3
    assert figures["rows"]["row"]["is_within_limit"] is (status == 0)
    assert "| Row | 50.0 | 40.0 | 1.250 (1.250 to 1.250) |" in capsys.readouterr().out


def test_a_round_with_real_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was measured nothing is judged: this machine has other work to do."""
    require_tool("wrk")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert against.run("HEAD", [LIBRARY], rounds=1, seconds=1, limit=1000, results=tmp_path) == 0

    (written,) = tmp_path.glob("against-*.json")
    (sides,) = json.loads(written.read_text())["rows"]["library"]["rounds"]
    assert all(side["requests_per_second"] > 0 and side["cpu_us"] > 0 for side in sides.values())
    assert str(tmp_path) not in trees._git(trees.ROOT, "worktree", "list")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--against", "HEAD", "--rows", "service,gin"], "gin: is no code of Stateroom"),
        (["--against", "HEAD", "--publish"], "cannot be used together with --against"),
        (["--against", "HEAD", "--connections", "1"], "cannot be used together with --against"),
        (["--rows", "service,burst"], "burst: sends no checks"),
        (["--rounds", "0"], "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *given])
    with pytest.raises(SystemExit):
        _options()

    assert said in capsys.readouterr().err


def test_defaults_are_those_of_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--against", "HEAD"])
    beside_a_commit = _options()
    monkeypatch.setattr(sys, "argv", ["bench"])
    beside_peers = _options()

    assert (beside_a_commit.rounds, [row.key for row in beside_a_commit.rows]) == (15, ["library", "service"])
    assert (beside_peers.rounds, beside_peers.rows) == (5, [row for row in ROWS if row.script is None])
