"""Reads the files that settings name again: on SIGHUP, when they have changed, and before a connection is made.

Certificates are renewed and passwords are rotated while the service runs. Kubernetes replaces a symbolic link by one to a new
folder (https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod). So a file counts as
changed if its path leads to another device, inode, size or time.

Code that uses a setting registers a function with `on_change`. If the function raises `SettingsError`, the old value stays.
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
"""How often the files are checked if no connection is made."""

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
        self._read({name for names, _ in self._functions for name in names})

    async def watch(self) -> None:
        """Look at the files every `LOOK_SECONDS`, until cancelled."""
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
        """Take the new values of these settings. Returns the settings that keep their old values because a file is invalid."""
        kept = self._keep_pipes(changed)
        if kept & self._secrets.keys():
            return kept
        try:
            read = self.settings.read_again()
        except SettingsError as error:
            # The functions read certificates and CAs themselves, so an invalid secret does not stop those.
            if secrets := changed - self._paths.keys():
                _log_kept(sorted(secrets), error)
            return kept | secrets
        self.settings = self.settings.model_copy(update={name: getattr(read, name) for name in changed - kept})
        return kept

    def _keep_pipes(self, changed: set[str]) -> set[str]:
        """Keep the values of files that are pipes or devices now: to open a pipe waits for its writer, and all requests with it.

        If a secret is in one, all secrets keep their values, because they are read together.
        """
        pipes = {name: path for name, path in self._files.items() if _is_pipe(path)}
        kept = {name for name in changed if name in pipes}
        if pipes.keys() & self._secrets.keys():
            kept |= self._secrets.keys()
        if told := sorted(changed & kept):
            paths = ", ".join(str(path) for path in pipes.values())
            _log_kept(told, SettingsError(f"{paths} is a pipe or a device; put a file in its place"))
        return kept


def _log_kept(names: list[str], error: SettingsError) -> None:
    log.error("settings_files_kept", settings=[name.upper() for name in names], reason=str(error))


def _is_pipe(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
