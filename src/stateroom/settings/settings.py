"""The settings of a process: read from code, the environment, a file that `NAME_FILE` names, or `.env`, in this order.

A setting that is missing or wrong raises `SettingsError`, whose one line names the setting, what is wrong and how to
fix it, and never holds a secret.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ..errors import SettingsError
from .checks import check_together
from .fields import SettingsFields
from .implied import IMPLIED, fill_in
from .names import MisspeltSettingWarning, refuse_unknown
from .sources import FromFiles
from .wording import first_problem


class Settings(SettingsFields):
    """What the environment says. Build one with `Settings.load()`, or with keyword arguments in code.

    A keyword argument beats the environment. None for a setting whose default others imply (`implied.py`) is as if it
    were left out. A name in the environment or `.env` that is nearly that of a setting is a `MisspeltSettingWarning`.
    """

    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        refuse_unknown(values, type(self).model_fields)
        given = {name: value for name, value in values.items() if value is not None or name not in IMPLIED}
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise SettingsError(first_problem(error, type(self).model_fields)) from None
        except (UnicodeDecodeError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SettingsError(f".env cannot be read: {reason}; correct it or move it away") from None
        check_together(self)
        self._given = given

    def __eq__(self, other: object) -> bool:
        """Settings are equal if every setting is, wherever it came from."""
        return isinstance(other, SettingsFields) and self.__dict__ == other.__dict__

    __hash__ = SettingsFields.__hash__

    @property
    def given(self) -> Mapping[str, Any]:
        """The keyword arguments that these settings were made with."""
        return self._given

    def read_again(self) -> Self:
        """The settings as files, environment and `.env` say them now, with the same keyword arguments. Raises `SettingsError`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MisspeltSettingWarning)
            return type(self)(**self._given)

    @classmethod
    def load(cls) -> Self:
        """Settings of this process. Raises `SettingsError`."""
        return cls()

    @classmethod
    def for_service(cls, **values: Any) -> Self:
        """Settings of `stateroom serve`: a misspelt name is an error there. Raises `SettingsError`."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", MisspeltSettingWarning)
            try:
                return cls(**values)
            except MisspeltSettingWarning as slip:
                raise SettingsError(str(slip)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        dotenv = getattr(dotenv_settings, "env_vars", {})
        return (init_settings, env_settings, FromFiles(settings_cls, dotenv), dotenv_settings)

    def model_post_init(self, context: Any, /) -> None:
        """Fill in what other settings imply."""
        fill_in(self)
