"""User ids, user keys, handles and session references: whose session it is, and its names."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NamedTuple, TypeAlias

UserId: TypeAlias = str | int

MAX_USER_ID_LENGTH = 200
MAX_USER_NUMBER = 2**63 - 1
"""The largest number that a BIGINT column and a sealed value can hold."""
NUMBER, TEXT = "i", "s"
"""The first letter of a user key. Only `user_key` and one SQL expression (journal/generations.py) write it."""

_HANDLE_BYTES = 16
_HANDLE = re.compile(r"[A-Za-z0-9_-]{22}")


class SessionRef(NamedTuple):
    """Which session. `user`: a user key, empty for an anonymous visitor. `handle`: see `handle_of`."""

    user: str
    handle: str


def handle_of(token: bytes) -> str:
    """The public id of the session with this token: the first 128 bits of its SHA-256, base64url.

    It names the session in Redis, in the journal and in responses. The token cannot be computed from it.
    """
    return base64.urlsafe_b64encode(hashlib.sha256(token).digest()[:_HANDLE_BYTES]).rstrip(b"=").decode()


def is_handle(text: str) -> bool:
    """Whether it has the form of a handle. If not, it names no session, and neither Redis nor the journal is asked."""
    return _HANDLE.fullmatch(text) is not None


def user_key(user_id: UserId | None) -> str:
    """The user id as Redis and the journal write it: 7 is `i7`, "7" is `s7`, and an anonymous visitor is empty.

    Raises `ValueError` for a text that is empty, too long, no valid Unicode or contains a NUL, and for a number below 1 or above
    2^63-1. Raises `TypeError` for other types than str and int. Subclasses, such as members of an enumeration, are refused too:
    they would be read back as the plain type, and a sealed value cannot hold them.
    """
    if user_id is None:
        return ""
    if type(user_id) is not str and type(user_id) is not int:
        raise TypeError(f"a user id is a str or an int, not {type(user_id).__name__}; convert it with str(…) or int(…)")
    if isinstance(user_id, int):
        if not 1 <= user_id <= MAX_USER_NUMBER:
            raise ValueError("a user id that is a number is from 1 to 2^63-1")
        return f"{NUMBER}{user_id}"
    if not user_id or len(user_id) > MAX_USER_ID_LENGTH:
        raise ValueError(f"a user id has 1 to {MAX_USER_ID_LENGTH} characters")
    if "\0" in user_id or any("\ud800" <= character <= "\udfff" for character in user_id):
        raise ValueError("a user id is valid Unicode without NUL characters")
    return f"{TEXT}{user_id}"


def user_id_of(key: str) -> UserId | None:
    """The user id that `user_key` wrote; None for an anonymous visitor."""
    if not key:
        return None
    return int(key[1:]) if key[0] == NUMBER else key[1:]
