"""Reads the files that settings name again: on SIGHUP, when they have changed, and before a connection is made.

A certificate is renewed every few weeks and a password is rotated, while the service runs for months. Kubernetes renames a
symbolic link to a new folder (https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod),
so a change is seen by what the path leads to: device, inode, size and times.

Who uses the value of a setting registers a function with `on_change`. A function that raises `SettingsError` keeps what it had.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from ..errors import SettingsError
from ..logs import get_logger
from .settings import Settings
from .sources import files_in_environment

log = get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often the files are looked at while nothing connects."""

Apply: TypeAlias = Callable[[Settings], None]
_Fingerprint: TypeAlias = tuple[int, ...] | None


class SettingsFiles:
    """The files of one application's settings.

    `settings`: the settings as they are now. Only values that come from files differ from those of the start.
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

        `names`: settings in lower case. The function raises `SettingsError` to keep what it has; that is logged.
        """
        self._functions.append((frozenset([names] if isinstance(names, str) else names), function))

    def look(self) -> None:
        """Read the files that have changed since they were last looked at. This costs one system call for each file."""
        seen = {name: _fingerprint(path) for name, path in self._files.items()}
        changed = {name for name, found in seen.items() if found != self._seen[name]}
        if changed:
            self._seen = seen  # A wrong file is reported once, and again when it has changed again.
            self._read(changed)

    def reread(self) -> None:
        """Read every file, whether it has changed or not."""
        self._seen = {name: _fingerprint(path) for name, path in self._files.items()}
        self._read({name for names, _ in self._functions for name in names})

    async def watch(self) -> None:
        """Look at the files every `LOOK_SECONDS`, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def _read(self, changed: set[str]) -> None:
        used = {name for names, _ in self._functions for name in names}
        if unused := sorted(changed - used):
            log.warning("settings_files_need_restart", settings=[name.upper() for name in unused])
        changed &= used
        kept = self._take_over(changed)
        for names, function in self._functions:
            touched = sorted(names & (changed - kept))
            if touched:
                try:
                    function(self.settings)
                except SettingsError as error:
                    kept |= set(touched)
                    _log_kept(touched, error)
        if read := sorted(changed - kept):
            log.info("settings_files_read", settings=[name.upper() for name in read])

    def _take_over(self, changed: set[str]) -> set[str]:
        """Take the new values of these settings. Returns those that stay as they were, because a file is wrong."""
        try:
            read = self.settings.read_again()
        except SettingsError as error:
            # A certificate or a CA is read by its function, so a wrong secret does not hold it back.
            kept = changed - self._paths.keys()
            _log_kept(sorted(kept), error)
            return kept
        self.settings = self.settings.model_copy(update={name: getattr(read, name) for name in changed})
        return set()


def _log_kept(names: list[str], error: SettingsError) -> None:
    log.error("settings_files_kept", settings=[name.upper() for name in names], reason=str(error))


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
