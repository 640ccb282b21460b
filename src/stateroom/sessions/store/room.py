"""How many bytes a session's data takes, and which messages are dropped if it takes too many."""

from __future__ import annotations

from collections.abc import Mapping

from ...backend.client import Argument
from ..model.fields import FLASH_PREFIX, is_data
from ..model.messages import newest


def size_of(fields: Mapping[str, Argument]) -> int:
    """The bytes of the application's values and of flash messages, names included. `SESSION_MAX_BYTES` limits them."""
    data = {name: value for name, value in fields.items() if is_data(name) and isinstance(value, bytes | str)}
    return sum(len(name.encode()) + len(_bytes(value)) for name, value in data.items())


def fitted(fields: Mapping[str, Argument], most: int) -> dict[str, Argument]:
    """These fields. If they take more than `most` bytes, the oldest flash messages are left out.

    `store/lua/save.lua` does the same when it appends messages to a stored session.
    """
    fitting = dict(fields)
    for name, value in fields.items():
        if name[:1] == FLASH_PREFIX and isinstance(value, bytes | str):
            text = _bytes(value)
            over = max(0, size_of(fitting) - most)
            text = newest(text, max(0, min(len(text), len(text) - over)))
            if text:
                fitting[name] = text
            else:
                del fitting[name]
    return fitting


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
