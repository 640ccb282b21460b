"""Another commit is checked out beside this tree, and nothing of it is left, however the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.trees import ROOT, other_tree, this_tree

HOLDS_A_TREE = """
import signal, sys, time
from pathlib import Path
from bench.trees import other_tree

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored

with other_tree("HEAD", Path(sys.argv[1])) as tree:
    print(tree.root, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the package's version in each is its number."""
    root = tmp_path / "repository"
    package = root / "src" / "stateroom" / "__init__.py"
    package.parent.mkdir(parents=True)
    git(root, "init", "--quiet")
    for number in (1, 2):
        package.write_text(f"NUMBER = {number}\n")
        git(root, "add", ".")
        git(root, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", str(number))
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


def worktrees(root: Path) -> int:
    return len(git(root, "worktree", "list").splitlines())


def imported(environment: dict[str, str]) -> str:
    command = [sys.executable, "-P", "-c", "import stateroom; print(stateroom.NUMBER)"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout.strip()


def test_each_tree_is_imported_from_its_own_commit(repository: Path) -> None:
    with other_tree("HEAD~1", repository) as there:
        here = this_tree(repository)

        assert (imported(here.environment()), imported(there.environment())) == ("2", "1")
        here.must_be_imported()
        there.must_be_imported()


def test_a_tree_that_is_not_imported_ends_the_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = this_tree(repository)
    monkeypatch.setattr(type(tree), "environment", lambda self: {"PYTHONPATH": str(ROOT / "src")})

    with pytest.raises(SystemExit, match="cannot import stateroom of"):
        tree.must_be_imported()


def test_a_changed_file_shows_in_the_name_of_this_tree(repository: Path) -> None:
    (repository / "src" / "stateroom" / "__init__.py").write_text("NUMBER = 3\n")

    assert this_tree(repository).name.endswith("-dirty")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_folder_and_gits_note_of_it_are_removed_after_an_error(repository: Path, error: type[BaseException]) -> None:
    trees = []

    def fail_with_a_tree() -> None:
        with other_tree("HEAD", repository) as there:
            trees.append(there)
            assert worktrees(repository) == 2
            raise error

    with pytest.raises(error):
        fail_with_a_tree()

    assert not trees[0].root.parent.exists()
    assert worktrees(repository) == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_run_that_a_signal_ends(repository: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-c", HOLDS_A_TREE, str(repository)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        assert place.is_dir()
        process.send_signal(ending)
        assert process.wait(30) != 0

    assert not place.parent.exists()
    assert worktrees(repository) == 1


@pytest.mark.parametrize("commit", ["nowhere", "--all", ""])
def test_a_commit_that_is_not_there_is_named(repository: Path, commit: str) -> None:
    with pytest.raises(SystemExit, match="bench knows no commit"), other_tree(commit, repository):
        pass

    assert worktrees(repository) == 1
