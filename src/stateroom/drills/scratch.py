"""Where a drill's servers keep their data: in memory, where there is room.

A drill breaks processes and networks, not machines. On a slow disk each end that SQLite commits waits for its turn,
and what a drill would measure is the disk.
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


def make_scratch() -> Path:
    """A new folder that is nobody else's: below TMPDIR where that is set."""
    is_roomy = False
    if "TMPDIR" not in os.environ:
        with contextlib.suppress(OSError):
            is_roomy = shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES and os.access(_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="stateroom-drill-", dir=_MEMORY if is_roomy else None))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """The same, gone afterwards."""
    folder = make_scratch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, to: Path) -> None:
    """Move what is in the folder out of memory."""
    for each in folder.iterdir():
        shutil.move(each, to)
