"""A key that embedded mode makes once and keeps under `STATE_DIR`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from ...errors import SettingsError
from ...private import open_private, own_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


def kept_key(path: Path, *, make: Callable[[], str], decode: Callable[[str], T], loss: str) -> T:
    """The key in this file. If there is no file, this makes a key. If several processes make one, the first key counts.

    `decode` raises `ValueError` for a text that is not a key. `loss`: what happens to users if the file is removed.
    Raises `SettingsError`.
    """
    try:
        own_folder(path.parent)
        if not path.exists():
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            with open_private(draft, "w") as file:
                file.write(make() + "\n")
            try:
                os.link(draft, path)  # the first to link wins, whole
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return decode(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SettingsError(f"STATE_DIR: {path} cannot be used: {error.strerror}; name a folder that can be written") from None
    except ValueError as error:
        raise SettingsError(f"STATE_DIR: {path} {error}, or remove the file ({loss})") from None
