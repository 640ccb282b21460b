"""This tree and another commit of the same repository, each with the path that makes an interpreter import it.

Only the other tree's `src/` is used. This tree's benchmark measures both, so a change of the benchmark is not part of the ratio.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import HERE

ROOT = HERE.parent


@dataclass(frozen=True)
class Tree:
    """`name`: as git describes the commit; `-dirty` where files were changed since."""

    name: str
    root: Path

    def environment(self) -> dict[str, str]:
        """PYTHONPATH comes before installed packages, so `stateroom` is this tree's and everything else is the installed one."""
        paths = [str(self.root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(paths)}

    def must_be_imported(self) -> None:
        """Ends the run if an interpreter with this environment imports another tree: both sides would then be the same code."""
        command = [sys.executable, "-P", "-c", "import stateroom; print(stateroom.__file__)"]
        done = subprocess.run(command, env=os.environ | self.environment(), capture_output=True, text=True, check=False)
        said = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode or not Path(said[-1]).is_relative_to(self.root / "src"):
            sys.exit(f"bench cannot import stateroom of {self.name}: {said[-1] if said else 'no output'}")


def this_tree(root: Path = ROOT) -> Tree:
    return Tree(_git(root, "describe", "--always", "--dirty", "--exclude=*"), root)


@contextlib.contextmanager
def other_tree(commit: str, root: Path = ROOT) -> Iterator[Tree]:
    """The commit in a folder of its own. The folder is removed at the end, also after Ctrl-C and SIGTERM."""
    name = _git(root, "rev-parse", "--short", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if not name:
        sys.exit(f"bench knows no commit {commit!r} in {root}")
    with _sigterm_ends_the_run(), tempfile.TemporaryDirectory(prefix="stateroom-against-") as folder:
        place = Path(folder).resolve() / "tree"
        try:
            # Hooks are for somebody who works in the tree.
            _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(place), name)
            if not (place / "src").is_dir():
                sys.exit(f"bench could not check out {name}: git worktree add failed, or the commit has no src/")
            yield Tree(name, place)
        finally:
            # Twice "--force": git locks a worktree while it is being added, and this may have been interrupted.
            _git(root, "worktree", "remove", "--force", "--force", str(place))


def _git(root: Path, *arguments: str) -> str:
    """What git printed, or nothing if it failed. In a session of its own: a Ctrl-C must not end it while it removes a tree."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True).stdout.strip()


@contextlib.contextmanager
def _sigterm_ends_the_run() -> Iterator[None]:
    """By default SIGTERM ends Python at once, and nothing would be removed."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
