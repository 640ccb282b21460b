"""Reads values from files that `NAME_FILE` names, as containers get secrets, and finds lost lines in `.env`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from ..errors import SettingsError
from .names import look_at_names

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings


_NAME = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


class FromFiles(EnvSettingsSource):
    """Reads a setting from the file that `NAME_FILE` names, in the environment or in `.env`."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._places = (self.env_vars, dotenv)
        for place in self._places:
            look_at_names(place, settings_cls.model_fields)

    # Not `get_field_value`: pydantic would wrap its errors in one that does not say how to fix them.
    def __call__(self) -> dict[str, Any]:
        found = {name: self._value(name) for name in self.settings_cls.model_fields}
        return {name: value for name, value in found.items() if value is not None}

    def paths(self) -> dict[str, Path]:
        """The file of each setting that is read from one. The names are in lower case."""
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
                raise SettingsError(f"{name}: {name}_FILE is set too; unset one of them")
            if path:
                return Path(path)
            if place.get(key):
                return None  # set in the environment, which overrides a file that `.env` names
        return None


def files_in_environment(settings_cls: type[BaseSettings], **given: Any) -> dict[str, Path]:
    """The files that `NAME_FILE` names in the environment or in `.env`. The keys are names of settings in lower case.

    `given`: the keyword arguments of the settings. `_env_file` names another file than `.env`.
    """
    place = {"env_file": given["_env_file"]} if "_env_file" in given else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each misspelt name was reported when the settings were read
        return FromFiles(settings_cls, DotEnvSettingsSource(settings_cls, **place).env_vars).paths()


def refuse_lost_lines(source: DotEnvSettingsSource) -> None:
    """Raise `SettingsError` if `.env` has further values of a list setting on lines of their own.

    `.env` ignores such a line, or takes it for a name without a value. So the values would silently be missing.
    `source`: has read `.env`. The file is read once more here, because `source` does not have its lines.
    """
    files = source.env_file or ()
    for file in (files,) if isinstance(files, (str, os.PathLike)) else files:
        if (path := Path(file).expanduser()).is_file():
            _refuse_lost_lines(path, source)


def _refuse_lost_lines(path: Path, source: DotEnvSettingsSource) -> None:
    fields, above = source.settings_cls.model_fields, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name = _NAME.match(text)
        if _is_value_of(text, fields.get(above), may_have_name=name is not None):
            raise SettingsError(
                f"{above.upper()}: .env has a value on the next line; write all values on one line with commas, or in quotes"
            )
        if name is not None:
            above = name[1].lower()
            if "\n" in (source.env_vars.get(above) or ""):  # in quotes: its lines are values
                above = ""


def _is_value_of(text: str, field: FieldInfo | None, *, may_have_name: bool) -> bool:
    """Whether a list setting accepts this line, which is unlikely to be a name. A padded key looks like a name with `=`."""
    if field is None or get_origin(field.annotation) is not tuple:
        return False
    is_key = get_args(field.annotation)[0] is SecretStr
    if not is_key and (may_have_name or text.isidentifier()):
        return False
    form: Any = Annotated[(field.annotation, *field.metadata)]
    try:
        TypeAdapter(form).validate_python(text)
    except ValidationError:
        return False
    return True


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{name}_FILE: {path} cannot be read: {reason}; name a readable text file") from None
    if not text:
        raise SettingsError(f"{name}_FILE: {path} is empty; write the value into it, or unset {name}_FILE")
    return text
