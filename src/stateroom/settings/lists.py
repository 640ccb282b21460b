"""Settings that hold several values, separated by commas or line breaks.

Every list setting has the same form in the environment, in `.env` and in a file that `NAME_FILE` names.
"""

from __future__ import annotations

import re

from pydantic import SecretStr


def split_list(value: object) -> object:
    """Split a text at commas and line breaks, and leave out empty parts. A value that is not a text is returned unchanged."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return tuple(part.strip() for part in re.split(r"[,\r\n]", value) if part.strip())
    return value
