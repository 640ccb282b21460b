"""Where values come from besides the environment itself: files that `NAME_FILE` names, as container secrets are handed over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import EnvSettingsSource

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

    def _value(self, key: str) -> str | None:
        name = key.upper()
        for place in self._places:
            path = place.get(f"{key}_file")
            if path and place.get(key):
                raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them")
            if path:
                return _read(name, Path(path))
            if place.get(key):
                return None  # set in the environment: that beats a file named in `.env`
        return None


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{name}_FILE: {path} cannot be read: {reason}; name a file that can") from None
    if not text:
        raise SettingsError(f"{name}_FILE: {path} is empty; write the value into it, or unset {name}_FILE")
    return text
