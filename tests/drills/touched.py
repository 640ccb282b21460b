"""The digest of all files that drills touch. `python -m tests.drills.touched` records it after all drills have passed."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTE = Path(__file__).with_name("passed.txt")
TOUCHED = (
    "src/stateroom/backend", "src/stateroom/sessions", "src/stateroom/drills", "src/stateroom/serving", "src/stateroom/accounts",
    "src/stateroom/api/auth.py", "src/stateroom/api/steps.py", "src/stateroom/database.py", "src/stateroom/setup.py",
    "src/stateroom/app.py", "src/stateroom/ready.py", "src/stateroom/outbox.py",
    "deploy/redis.conf", "deploy/users.acl", "sentinel.conf", "tests/drills",
)  # fmt: skip
TOLD = (".css", ".html", ".txt", ".pyc")
"""Suffixes of files that only change a drill's report, or are no source."""


def digest() -> str:
    """The digest of the names and contents of all files that drills touch."""
    whole = hashlib.sha256()
    for path in sorted(each for name in TOUCHED for each in _files(ROOT / name)):
        whole.update(f"{path.relative_to(ROOT)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def noted() -> str:
    """The digest of the files on which all drills passed last."""
    return NOTE.read_text(encoding="utf-8").strip() if NOTE.exists() else ""


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else path.rglob("*")
    return [each for each in found if each.is_file() and each.suffix not in TOLD and "__pycache__" not in each.parts]


if __name__ == "__main__":
    NOTE.write_text(f"{digest()}\n", encoding="utf-8")
