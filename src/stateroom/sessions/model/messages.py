"""Flash messages of one session: how many are kept, and those that a request has left and not saved yet.

They are kept until somebody takes them, and nobody may: a client that only signs in, again and again, never does. So there
are bounds, of each kind by itself, and the newest messages win. `store/lua/save.lua` keeps them too.
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
    """Those that one request has left, by kind, with the numbers in which they came.

    A message that is being saved stays until it is stored. So what is lost on the way is still there.
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
        """Leave a message; the oldest of its kind go if there are too many.

        Raises `TypeError` for anything but a str; `ValueError` for one with a lone surrogate, or longer than `FLASH_MAX_BYTES`.
        """
        if not isinstance(message, str):
            raise TypeError(f"a flash message is a str, not {type(message).__name__}")
        message = str.__str__(message)
        check_text("a flash message", message)
        if len(message.encode()) > FLASH_MAX_BYTES:
            raise ValueError(f"a flash message has at most {FLASH_MAX_BYTES} bytes; keep the text elsewhere and its id here")
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
        """Those up to this number are stored."""
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
    """The messages of one kind when these are stored after those that are there."""
    return newest(b"\n".join([*filter(None, [stored]), text.encode()]))


def newest(text: bytes, most_bytes: int = FLASH_MAX_BYTES) -> bytes:
    """The last lines of messages, within the bounds; empty if not even the last one fits."""
    text = b"\n".join(text.split(b"\n")[-FLASH_MAX_LINES:])
    while len(text) > most_bytes:
        _, _, text = text.partition(b"\n")
    return text


def _text(waiting: deque[tuple[int, str]]) -> str:
    return newest("\n".join(message for _, message in waiting).encode()).decode()
