"""What Linux says of a process that may end at any moment (proc(5))."""

import os
from pathlib import Path


def said_of(pid: int | str, name: str) -> bytes:
    """The content of a file in `/proc/PID`; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def open_files(pid: int) -> list[str]:
    """What a running process has open, as `/proc/PID/fd` names it. Files that it closes meanwhile may be missing."""
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
        except FileNotFoundError:
            continue
    return found
