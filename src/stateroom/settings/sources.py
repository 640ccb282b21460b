"""Where values come from besides the environment itself: files that `NAME_FILE` names, as container secrets are handed over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from ..errors import SettingsError
from .names import look_at_names

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings


class FromFiles(EnvSettingsSource):
    """Reads a setting from the file that `NAME_FILE` names, in the environment or in `.env`."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._places = (self.env_vars, dotenv)
        for place in self._places:
            look_at_names(place, settings_cls.model_fields)

    # Not `get_field_value`: pydantic wraps what that raises in an error of its own, which does not say how to fix it.
    def __call__(self) -> dict[str, Any]:
        found = {name: self._value(name) for name in self.settings_cls.model_fields}
        return {name: value for name, value in found.items() if value is not None}

    def paths(self) -> dict[str, Path]:
        """The files that settings are read from, by the setting's name in lower case."""
        found = {name: self._path(name) for name in self.settings_cls.model_fields}
        return {name: path for name, path in found.items() if path is not None}

    def _value(self, key: str) -> str | None:
        path = self._path(key)
        return None if path is None else _read(key.upper(), path)

    def _path(self, key: str) -> Path | None:
        name = key.upper()
        for place in self._places:
            path = place.get(f"{key}_file")
            if path and place.get(key):
                raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them")
            if path:
                return Path(path)
            if place.get(key):
                return None  # set in the environment: that beats a file named in `.env`
        return None


def files_in_environment(settings_cls: type[BaseSettings], **given: Any) -> dict[str, Path]:
    """The files that `NAME_FILE` names in the environment or in `.env`, by the setting's name in lower case.

    `given`: the keyword arguments that the settings were made with; `_env_file` names another file than `.env`.
    """
    place = {"env_file": given["_env_file"]} if "_env_file" in given else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each misspelt name was reported when the settings were read
        return FromFiles(settings_cls, DotEnvSettingsSource(settings_cls, **place).env_vars).paths()


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{name}_FILE: {path} cannot be read: {reason}; name a file that can") from None
    if not text:
        raise SettingsError(f"{name}_FILE: {path} is empty; write the value into it, or unset {name}_FILE")
    return text
