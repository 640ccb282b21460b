"""Reads the files that settings name again: on SIGHUP, when they have changed, and before a connection is made.

Certificates are renewed and passwords are rotated while the service runs. Kubernetes replaces a symbolic link by one to a new
folder (https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod). So a file counts as
changed if its path leads to another device, inode, size or time.

Code that uses a setting registers a function with `on_change`. If the function raises `SettingsError`, the old value stays.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from ..errors import SettingsError
from ..logs import get_logger
from .settings import Settings
from .sources import files_in_environment

log = get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often the files are checked if no connection is made."""
NO_FILE = "is a pipe or a device, which is not read again; put a regular file there"

Apply: TypeAlias = Callable[[Settings], None]
_Fingerprint: TypeAlias = tuple[int, ...] | None


class SettingsFiles:
    """The files of one application's settings.

    `settings`: the settings now. Only values from files differ from those at startup.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        given = settings.given
        self._secrets = {name: path for name, path in files_in_environment(Settings, **given).items() if name not in given}
        paths = {name: getattr(settings, name) for name in Settings.model_fields}
        self._paths = {name: path for name, path in paths.items() if isinstance(path, Path) and name != "state_dir"}
        self._functions: list[tuple[frozenset[str], Apply]] = []
        self._seen = {name: _fingerprint(path) for name, path in self._files.items()}

    @property
    def _files(self) -> dict[str, Path]:
        return {**self._paths, **self._secrets}

    def on_change(self, names: str | Iterable[str], function: Apply) -> None:
        """Call the function with the present settings when a file of one of these settings has changed, and on SIGHUP.

        `names`: settings in lower case. The function raises `SettingsError` to keep its old value; the error is logged.
        """
        self._functions.append((frozenset([names] if isinstance(names, str) else names), function))

    def look(self) -> None:
        """Read the files that have changed since the last look. This costs one system call for each file."""
        seen = {name: _fingerprint(path) for name, path in self._files.items()}
        changed = {name for name, found in seen.items() if found != self._seen[name]}
        if changed:
            self._seen = seen  # An invalid file is reported once, and again if it changes again.
            self._read(changed)

    def reread(self) -> None:
        """Read every file, whether it has changed or not."""
        self._seen = {name: _fingerprint(path) for name, path in self._files.items()}
        self._read({name for names, _ in self._functions for name in names}, is_asked=True)

    async def watch(self) -> None:
        """Look at the files every `LOOK_SECONDS`, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def _read(self, changed: set[str], *, is_asked: bool = False) -> None:
        """Read the files of these settings. `is_asked`: it is logged although there is no such file."""
        used = {name for names, _ in self._functions for name in names}
        if unused := sorted(changed - used):
            log.warning("settings_files_need_restart", settings=[name.upper() for name in unused])
        changed &= used
        before = self.settings
        kept = self._keep_pipes(changed)
        kept |= self._take_over(changed - kept)
        for names, function in self._functions:
            touched = sorted(names & (changed - kept))
            if touched:
                try:
                    function(self.settings)
                except SettingsError as error:
                    kept |= set(touched)
                    _log_kept(touched, error)
        # `.env` is read again too, so a setting without a file of its own may have another value.
        has_file = self._files
        read = sorted(name for name in changed - kept if name in has_file or getattr(before, name) != getattr(self.settings, name))
        if read or (is_asked and not kept):
            log.info("settings_files_read", settings=[name.upper() for name in read])

    def _keep_pipes(self, changed: set[str]) -> set[str]:
        """The settings whose path leads to a pipe or a device. To open it could take forever, and would stop the whole service."""
        kept = {name for name in changed & self._paths.keys() if _is_pipe(self._paths[name])}
        for name in sorted(kept):
            _log_kept([name], SettingsError(f"{name.upper()}: {self._paths[name]} {NO_FILE}"))
        return kept

    def _take_over(self, changed: set[str]) -> set[str]:
        """Take the new values of these settings. Returns the settings that keep their old values because a file is invalid."""
        try:
            self._check_secrets()
            read = self.settings.read_again()
        except SettingsError as error:
            # The functions read certificates and CAs themselves, so an invalid secret does not stop those.
            if kept := changed - self._paths.keys():
                _log_kept(sorted(kept & self._secrets.keys() or kept), error)
            return kept
        self.settings = self.settings.model_copy(update={name: getattr(read, name) for name in changed})
        return set()

    def _check_secrets(self) -> None:
        """Raises `SettingsError`."""
        for name, path in self._secrets.items():
            if _is_pipe(path):
                raise SettingsError(f"{name.upper()}_FILE: {path} {NO_FILE}")


def _is_pipe(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder. False if there is nothing that we may see."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _log_kept(names: list[str], error: SettingsError) -> None:
    log.error("settings_files_kept", settings=[name.upper() for name in names], reason=str(error))


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
