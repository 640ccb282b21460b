"""Reads a password from standard input, because other users of the machine can see the arguments of a command."""

from __future__ import annotations

import getpass
import sys

from ...errors import SettingsError

MAX_BYTES = 8192
"""Longer than any password that is accepted."""


def password_from_stdin() -> str:
    """The password, without the line break at its end. On a terminal, ask for it. Raises `SettingsError`."""
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    try:
        text = sys.stdin.buffer.read(MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise SettingsError("--password-stdin: standard input is not UTF-8 text; write only the password to it") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise SettingsError("--password-stdin: standard input is empty; write the password to it")
    if "\n" in password:
        raise SettingsError("--password-stdin: standard input has several lines; write only the password to it")
    return password
