"""Folders for the data of a drill's servers: in memory, if there is room.

A drill breaks processes and networks, not machines. On a slow disk every commit of SQLite waits, so the drill would
measure the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of our own is made there)
_ROOM_BYTES = 256 << 20


def memory() -> Path | None:
    """The file system in memory; None if it has too little room, or if TMPDIR is set and names another place."""
    if "TMPDIR" in os.environ:
        return None
    try:
        has_room = shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    except OSError:
        return None
    return _MEMORY if has_room and os.access(_MEMORY, os.W_OK) else None


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder, deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="stateroom-drill-", dir=memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, to: Path) -> None:
    """Move the folder's content out of memory."""
    for each in folder.iterdir():
        shutil.move(each, to)
