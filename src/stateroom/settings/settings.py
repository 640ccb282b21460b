"""The settings of a process: read from code, the environment, a file that `NAME_FILE` names, or `.env`, in this order.

An invalid or missing setting raises `SettingsError`. Its text is one line: the setting, what is wrong, how to fix it. It
never contains a secret.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource

from ..errors import SettingsError
from .checks import check_together
from .fields import SettingsFields
from .implied import IMPLIED, fill_in
from .names import MisspeltSettingWarning, refuse_unknown
from .sources import FromFiles, refuse_lost_lines
from .wording import first_problem


class Settings(SettingsFields):
    """The settings of a process. Make them with `Settings.load()`, or with keyword arguments in code.

    A keyword argument overrides the environment. If a setting's default depends on others (`implied.py`), None means the
    default. A misspelt name in the environment or in `.env` is a `MisspeltSettingWarning`.
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
            raise SettingsError(f".env: cannot be read: {reason}; correct or remove the file") from None
        check_together(self)
        self._given = given

    def __eq__(self, other: object) -> bool:
        """Settings are equal if each setting has the same value. It does not matter where the value came from."""
        return isinstance(other, SettingsFields) and self.__dict__ == other.__dict__

    __hash__ = SettingsFields.__hash__

    @property
    def given(self) -> Mapping[str, Any]:
        """The keyword arguments of these settings."""
        return self._given

    def read_again(self) -> Self:
        """Read files, environment and `.env` again, with the same keyword arguments. Raises `SettingsError`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MisspeltSettingWarning)
            return type(self)(**self._given)

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises `SettingsError`."""
        return cls()

    @classmethod
    def for_service(cls, **values: Any) -> Self:
        """The settings of `stateroom serve`. Raises `SettingsError`, also for a misspelt name."""
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
        dotenv: Mapping[str, str | None] = {}
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            refuse_lost_lines(dotenv_settings)
            dotenv = dotenv_settings.env_vars
        return (init_settings, env_settings, FromFiles(settings_cls, dotenv), dotenv_settings)

    def model_post_init(self, context: Any, /) -> None:
        """Set the defaults that depend on other settings."""
        fill_in(self)
