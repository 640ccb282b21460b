#!/usr/bin/env python3
"""Make the secrets of docker-compose.sentinel.yml, each in its own file. `make compose-secrets` runs this.

Existing files are not changed. Only Python's standard library is used.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

USERS = ("stateroom", "sentinel", "replica")
SHIPPED_USERS = Path(__file__).with_name("users.acl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("secrets"))
    folder: Path = parser.parse_args().folder
    # Only the owner can enter the folder. The files in it are readable for all, because engines mount them with their
    # permissions, and the containers that read them run as other users.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, make in makers(folder).items():
        print(f"{folder / name}: {'made' if write_new(folder / name, make) else 'exists, not changed'}")


def makers(folder: Path) -> dict[str, Callable[[], str]]:
    """A function for the text of each file. A function may read the files that come before its own."""

    def password() -> str:
        return secrets.token_hex(24)

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8").strip()

    def users() -> str:
        text = SHIPPED_USERS.read_text(encoding="utf-8")
        for user in USERS:
            digest = hashlib.sha256(read(f"redis_{user}_password").encode()).hexdigest()
            text = text.replace(f"user {user} on resetpass", f"user {user} on resetpass #{digest}")
        return text

    return {
        **{f"redis_{user}_password": password for user in USERS},
        "users.acl": users,
        "cookie_keys": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode(),
        "postgres_password": password,
        "database_url": lambda: f"postgresql://stateroom:{read('postgres_password')}@postgres/stateroom",
        "grafana_admin_password": password,
    }


def write_new(path: Path, make: Callable[[], str]) -> bool:
    """Write a file if it does not exist, completely or not at all. Whether it was written."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="utf-8") as file:
        file.write(make().rstrip("\n") + "\n")
    draft.chmod(0o644)
    draft.rename(path)
    return True


if __name__ == "__main__":
    main()
