"""Settings that hold several values."""

from __future__ import annotations

import re

from pydantic import SecretStr


def split_list(value: object) -> object:
    """The parts of a text, which stand between commas or one a line; empty ones are ignored. Anything else stays as it is."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return tuple(part.strip() for part in re.split(r"[,\r\n]", value) if part.strip())
    return value
