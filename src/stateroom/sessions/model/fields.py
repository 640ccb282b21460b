"""The fields of a stored session: their names in the Redis hash, and the changes of one request.

This is the only Python file that knows the names. The Lua scripts under `store/lua` know them too. Times and lifetimes
are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from .deployment import Current

Fields: TypeAlias = Mapping[bytes, bytes]
"""A session's hash as Redis has it."""

USER: Final = b"u"
"""The user key; missing for an anonymous visitor."""
CREATED: Final = b"c"
SIGNED_IN: Final = b"a"
"""When the user last gave a password."""
RENEWED: Final = b"r"
DEADLINE: Final = b"d"
"""The absolute end."""
IDLE: Final = b"i"
"""The idle lifetime."""
GENERATION: Final = b"g"
"""The user's generation when they signed in."""
EPOCH: Final = b"e"
"""The deployment's epoch when the session was made; missing in the first epoch, which is empty."""
PENDING: Final = b"p"
"""Set while the session must not be trusted without a lookup in the journal."""
CLIENT_NOTES: Final = b"m"
"""Notes of the client at sign-in; continued in `m1`, `m2`, … (client_notes.py)."""

DATA_PREFIX: Final = "."
"""A field with this prefix holds one value of the application, as JSON."""
FLASH_PREFIX: Final = "!"
"""A field with this prefix holds the flash messages of one kind."""

_SIGNED_IN, _GENERATION, _EPOCH = SIGNED_IN.decode(), GENERATION.decode(), EPOCH.decode()


@dataclass(slots=True)
class Delta:
    """The changes of a request: values by the names of their fields.

    `written`: the objects that the request has set, by key. `messages_until`: the number of its last message (messages.py).
    """

    values: dict[str, bytes] = field(default_factory=dict)
    appended: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    written: dict[str, Any] = field(default_factory=dict)
    messages_until: int = 0

    def __bool__(self) -> bool:
        return bool(self.values or self.appended or self.deleted)


def data_field(key: str) -> str:
    """The field of a session key."""
    return DATA_PREFIX + key


def flash_field(kind: str) -> str:
    """The field of a kind of flash messages."""
    return FLASH_PREFIX + kind


def by_prefix(fields: Fields, prefix: str) -> dict[str, bytes]:
    """The fields with this prefix, by their names without it. Names that are not UTF-8 are left out: they are no keys."""
    first = prefix.encode()
    try:
        return {name[1:].decode(): value for name, value in fields.items() if name[:1] == first}
    except UnicodeDecodeError:
        return by_prefix({name: value for name, value in fields.items() if name.decode(errors="ignore").encode() == name}, prefix)


def is_data(name: str) -> bool:
    """Whether the field counts against `SESSION_MAX_BYTES`: a value of the application, or flash messages."""
    return name[0] in (DATA_PREFIX, FLASH_PREFIX)


def sign_in_fields(carried: Current, signed_in_ms: int | None = None) -> dict[str, int | str]:
    """The fields of a sign-in, for a script that stores a session. Without a time the script takes Redis' time."""
    fields: dict[str, int | str] = {_GENERATION: carried.generation, **epoch_field(carried.epoch)}
    if signed_in_ms is not None:
        fields[_SIGNED_IN] = signed_in_ms
    return fields


def epoch_field(epoch: str) -> dict[str, str]:
    """The field of a session's epoch; empty for the first epoch."""
    return {_EPOCH: epoch} if epoch else {}
