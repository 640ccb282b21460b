"""Folders and files that no other user of the host can open.

The state folder holds sealed sessions, password hashes and keys. A folder that existed before can have any mode. In a
folder that everybody can write to, such as `/tmp`, another user may have made a folder or a symbolic link of this name. So we
set the modes if we may, and otherwise startup stops.
"""

from __future__ import annotations

import contextlib
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from .errors import SettingsError
from .logs import get_logger

log = get_logger(__name__)

FOLDER_MODE = 0o700
FILE_MODE = 0o600
UMASK = 0o077

_NOT_OWNER = 0o077
_OTHERS = 0o007
_OTHERS_WRITE = 0o002

_OURS = (
    "*.key", ".*.key.*", "*.lock", "stateroom.db*", ".stateroom.db.*", "valkey.*", "appendonly*", "*.aof", "*.rdb", "mail",
    "*.eml", ".*.eml.draft",
)  # fmt: skip
"""What Stateroom and its embedded server make in the state folder, and in the folder for mails."""
_OF_FILE_SYSTEM = "lost+found"


def hide_new_files() -> None:
    """Let this process, and the processes that it starts, make files that only its user can open. Not for use in a library."""
    os.umask(UMASK)


def own_folder(folder: Path, *, setting: str = "STATE_DIR") -> None:
    """Make the folder if it is missing. Close it and our files in it to all other users.

    Raises `SettingsError` if that is impossible: another user made it, or it holds files that are not ours.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _check_way(folder, setting)
        _close_folder(folder, setting)
        for path in [*folder.iterdir(), *(folder / "appendonlydir").glob("*")]:
            if _is_ours(path.relative_to(folder).parts[0]):
                with contextlib.suppress(FileNotFoundError):  # a running server rewrites its files
                    _close(path)
    except OSError as error:
        raise SettingsError(f"{setting}: {folder} cannot be written: {error.strerror}; name a folder that can be written") from None


def own_temporary_folder(folder: Path) -> None:
    """Make a folder in a place that all users share, or use the one that we made before. Raises `SettingsError`, `OSError`."""
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _NOT_OWNER:
        raise SettingsError(
            f"STATE_DIR: its path is too long for a socket, and {folder} does not belong to this user alone; "
            "remove it, or use a shorter path"
        )


@overload
def open_private(path: Path, mode: Literal["w", "a"]) -> TextIO: ...
@overload
def open_private(path: Path, mode: Literal["ab"]) -> BinaryIO: ...
def open_private(path: Path, mode: str) -> IO[Any]:
    """Open a file for writing, and close it to all other users, also if it existed with another mode. Refuses a symbolic link.

    Raises `OSError`.
    """
    file: IO[Any] = open(  # noqa: SIM115
        path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, FILE_MODE)
    )
    try:
        if os.fstat(file.fileno()).st_mode & _NOT_OWNER:
            os.fchmod(file.fileno(), FILE_MODE)
    except BaseException:
        file.close()
        raise
    return file


def close_file(path: Path, *, denied: int = _NOT_OWNER) -> None:
    """Remove these rights from one of our files. Raises `OSError` if it is missing."""
    _close(path, denied)


def _check_way(folder: Path, setting: str) -> None:
    """Raise `SettingsError` if another user can decide where the path leads."""
    way = [folder.absolute(), *folder.absolute().parents]
    for entry, parent in pairwise(way):
        if not parent.stat().st_mode & _OTHERS_WRITE:
            continue
        found = entry.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in {os.geteuid(), 0}:
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "another user's folder"
            raise SettingsError(
                f"{setting}: {entry} is {what}, in a folder that all users can write to; "
                "name a folder that only the user of the service can write to"
            )


def _close_folder(folder: Path, setting: str) -> None:
    found = folder.stat()
    if not found.st_mode & _NOT_OWNER:
        return
    if os.geteuid() not in {found.st_uid, 0}:
        # Kubernetes gives a volume to a group (fsGroup), and the owner stays root. The files in it are ours alone.
        if found.st_mode & _OTHERS:
            raise SettingsError(
                f"{setting}: {folder} belongs to another user, and all users can open it; "
                "name a new folder inside of it, which Stateroom makes"
            )
        return
    foreign = next((path.name for path in folder.iterdir() if not _is_ours(path.name) and path.name != _OF_FILE_SYSTEM), None)
    if found.st_mode & stat.S_ISVTX or foreign is not None:
        holds = f" and it holds {foreign}, which is not Stateroom's" if foreign is not None else ""
        raise SettingsError(
            f"{setting}: other users can open {folder},{holds}; name a folder for Stateroom alone, or run chmod 700 on this folder"
        )
    folder.chmod(FOLDER_MODE)
    log.warning("state_folder_closed", folder=str(folder), mode_before=f"{stat.S_IMODE(found.st_mode):o}")


def _close(path: Path, denied: int = _NOT_OWNER) -> None:
    found = path.lstat()
    if found.st_mode & denied and not stat.S_ISLNK(found.st_mode) and os.geteuid() in {found.st_uid, 0}:
        path.chmod(stat.S_IMODE(found.st_mode) & ~denied)


def _is_ours(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in _OURS)
