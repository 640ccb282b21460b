"""Downloads the published sources of other projects, and unpacks their tests.

pip downloads them from wherever it is configured to. requirements-dev.txt pins versions and hashes, so the tests are those of
the installed release.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from ..conftest import do_without

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300


def unpacked_tests(project: str, cache: pytest.Cache) -> Path:
    """The folder with the tests of a project, in pytest's cache."""
    pin = _pin(project)
    version = pin.split()[0].partition("==")[2]
    folder = cache.mkdir("peers") / re.sub(r"\W", "_", f"{project}_{version}")  # It is the name of a package, too.
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            pinned = Path(work, "requirements.txt")
            pinned.write_text(pin)
            # "--no-binary" applies to one project: what its build needs may be wheels.
            _pip(project, "download", "--no-deps", "--no-binary", project, "--require-hashes", "-r", str(pinned), "-d", work)
            with tarfile.open(next(Path(work).glob("*.tar.gz"))) as archive:
                archive.extractall(Path(work, "sources"), filter="data")
            _put(next(Path(work, "sources").glob("*/tests")), folder)
    return folder


def installed_plugins(cache: pytest.Cache) -> Path:
    """The folder with what their tests import and ours do not."""
    listed = Path(__file__).with_name("requirements.txt")
    name = re.sub(r"\W+", "_", listed.read_text().splitlines()[-1].partition(" ")[0])
    folder = cache.mkdir("peers") / name
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            place = Path(work, "installed")
            _pip(name, "install", "--no-deps", "--require-hashes", "-r", str(listed), "--target", str(place))
            _put(place, folder)
    return folder


def _pin(project: str) -> str:
    found = re.search(rf"^{project}==(?:.*\\\n)+.*\n", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert found is not None, f"requirements-dev.txt does not pin {project}"
    return found[0]


def _pip(project: str, command: str, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", command, *quiet, *arguments]
    try:
        done = subprocess.run(pip, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        do_without(f"{project} (pip {command} took more than {TIMEOUT_SECONDS} s)")
    if done.returncode != 0:
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
        do_without(f"{project} (pip {command}: {done.stderr.strip()[-500:]})")


def _put(made: Path, folder: Path) -> None:
    """Two processes may have made it at once. Either is good."""
    try:
        made.rename(folder)
    except OSError:
        assert folder.exists()
        shutil.rmtree(made)
