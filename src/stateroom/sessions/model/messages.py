"""Flash messages of one session: their limits, and the messages that a request has left and not saved yet.

Messages are kept until a page takes them. A client that only signs in, again and again, never takes any. So there are limits
for each kind of message, and the newest messages are kept. `store/lua/save.lua` has the same limits.
"""

from __future__ import annotations

import itertools
from collections import deque

from .fields import flash_field
from .values import check_text

FLASH_MAX_LINES = 20
"""How many lines of messages of one kind are kept; several messages of a kind are lines of one text."""
FLASH_MAX_BYTES = 2048
"""How many bytes the messages of one kind take at most, line feeds included. One message has no more either."""


class Messages:
    """The messages that one request has left, by kind, numbered in their order.

    A message that is being saved is kept until it is stored. So a save that fails loses no message.
    """

    __slots__ = ("_kinds", "_numbers")

    def __init__(self) -> None:
        self._kinds: dict[str, deque[tuple[int, str]]] = {}
        self._numbers = itertools.count(1)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def __copy__(self) -> Messages:
        other = Messages()
        other._kinds = {kind: deque(waiting) for kind, waiting in self._kinds.items()}
        other._numbers = self._numbers
        return other

    def add(self, kind: str, message: str) -> None:
        """Leave a message. If there are too many of its kind, the oldest are dropped.

        Raises `TypeError` for anything but a str; `ValueError` for one with a lone surrogate, or longer than `FLASH_MAX_BYTES`.
        """
        if not isinstance(message, str):
            raise TypeError(f"a flash message is a str, not {type(message).__name__}")
        message = str.__str__(message)
        check_text("a flash message", message)
        if len(message.encode()) > FLASH_MAX_BYTES:
            raise ValueError(f"a flash message has at most {FLASH_MAX_BYTES} bytes; store a longer text elsewhere")
        if message:
            waiting = self._kinds.setdefault(kind, deque())
            waiting.append((next(self._numbers), message))
            while len(waiting) > FLASH_MAX_LINES:
                waiting.popleft()

    def waiting(self) -> tuple[dict[str, str], int]:
        """The messages by their fields, and the number of the last one."""
        texts = {flash_field(kind): _text(waiting) for kind, waiting in self._kinds.items()}
        return texts, max((waiting[-1][0] for waiting in self._kinds.values()), default=0)

    def accept(self, until: int) -> None:
        """The messages up to this number are stored now."""
        for kind, waiting in list(self._kinds.items()):
            while waiting and waiting[0][0] <= until:
                waiting.popleft()
            if not waiting:
                del self._kinds[kind]

    def drain(self) -> dict[str, str]:
        """Take them all, by kind."""
        texts = {kind: _text(waiting) for kind, waiting in self._kinds.items()}
        self._kinds.clear()
        return texts


def joined(stored: bytes | None, text: str) -> bytes:
    """The stored messages of one kind with these added at the end."""
    return newest(b"\n".join([*filter(None, [stored]), text.encode()]))


def newest(text: bytes, most_bytes: int = FLASH_MAX_BYTES) -> bytes:
    """The last lines of messages, within the bounds; empty if not even the last one fits."""
    text = b"\n".join(text.split(b"\n")[-FLASH_MAX_LINES:])
    while len(text) > most_bytes:
        _, _, text = text.partition(b"\n")
    return text


def occurrences(text: bytes, stored: bytes | None) -> int:
    """How often this text, which may have several lines, is among the stored messages of a kind."""
    lines, wanted = (stored or b"").split(b"\n"), text.split(b"\n")
    return sum(lines[at : at + len(wanted)] == wanted for at in range(len(lines)))


def _text(waiting: deque[tuple[int, str]]) -> str:
    return newest("\n".join(message for _, message in waiting).encode()).decode()
