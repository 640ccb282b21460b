"""What drills touch, as one digest, and the note of the digest on which all of them have passed."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTE = Path(__file__).with_name("passed.txt")
PACKAGE = "src/stateroom"
TOUCHED = (PACKAGE, "requirements.txt", "deploy/redis.conf", "deploy/users.acl", "sentinel.conf", "tests/drills")
NOT_PLAYED = ("web", "doctor")
"""Rooms of the package that no drill reaches."""
TOLD = (".css", ".html", ".txt", ".pyc")
"""Suffixes of files in folders that change how a drill is reported, or are no source."""


def digest(root: Path = ROOT) -> str:
    """Of the names and contents of all files that drills touch."""
    whole = hashlib.sha256()
    for path in touched(root):
        whole.update(f"{path.relative_to(root)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def touched(root: Path = ROOT) -> list[Path]:
    """All files that drills touch, in order."""
    left_out = [root / PACKAGE / name for name in NOT_PLAYED]
    found = [each for name in TOUCHED for each in _files(root / name)]
    return sorted(each for each in found if not any(each.is_relative_to(folder) for folder in left_out))


def noted() -> str:
    """Of the files on which all drills have passed last."""
    return NOTE.read_text(encoding="utf-8").strip() if NOTE.exists() else ""


def note(passed: str) -> None:
    """Note the digest of the files on which all drills have passed."""
    NOTE.write_text(f"{passed}\n", encoding="utf-8")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [each for each in path.rglob("*") if each.is_file() and each.suffix not in TOLD and "__pycache__" not in each.parts]
