"""Names: of keys in Redis, of users, of sessions.

Every key is `PREFIX:{tag}:…`. The tag is one of 1,024, taken from the user's id (from the handle for an anonymous
visitor), so that a user's sessions, their index and their expiry index share a Cluster slot and each step is one
atomic script. The tags are chosen to fall 16 slots apart: however a Cluster divides its 16,384 slots, each shard
gets its even share.

    PREFIX:{tag}:s:HANDLE   a session, a hash
    PREFIX:{tag}:u:USER     a user's sessions, a sorted set of handles by time of creation
    PREFIX:{tag}:x          all sessions of the tag by time of expiry, members HANDLE:CREATED:USER
    PREFIX:{shard}:mark     up to which row a primary has the journal of ends
    PREFIX:{shard}:fleet    whose journal that is
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import zlib
from typing import NamedTuple, TypeAlias

from redis.crc import key_slot

UserId: TypeAlias = str | int

TAG_COUNT = 1024
_SLOTS_PER_TAG = 16384 // TAG_COUNT
_HANDLE_BYTES = 16
MAX_USER_ID_LENGTH = 200


def _spread_tags() -> tuple[str, ...]:
    tags: dict[int, str] = {}
    for number in itertools.count():
        name = f"{number:x}"
        tags.setdefault(key_slot(name.encode()) // _SLOTS_PER_TAG, name)
        if len(tags) == TAG_COUNT:
            return tuple(tags[share] for share in range(TAG_COUNT))
    raise AssertionError("unreachable")


TAGS = _spread_tags()


def handle_of(token: bytes) -> str:
    """The public id of the session with this token: the first 128 bits of its SHA-256, base64url.

    It names the session in Redis and in answers. It leads back to no token.
    """
    return base64.urlsafe_b64encode(hashlib.sha256(token).digest()[:_HANDLE_BYTES]).rstrip(b"=").decode()


def user_key(user_id: UserId | None) -> str:
    """How a user id is written in Redis and the journal: 7 is `i7`, "7" is `s7`, nobody is empty.

    Raises `ValueError` for an empty or over-long id and `TypeError` for what is neither text nor a number.
    """
    if user_id is None:
        return ""
    if isinstance(user_id, bool) or not isinstance(user_id, str | int):
        raise TypeError(f"a user id is a str or an int, not {type(user_id).__name__}")
    text = str(user_id)
    if not text or len(text) > MAX_USER_ID_LENGTH:
        raise ValueError(f"a user id has 1 to {MAX_USER_ID_LENGTH} characters")
    return f"{'i' if isinstance(user_id, int) else 's'}{text}"


def user_id_of(key: str) -> UserId | None:
    """The user id that `user_key` wrote."""
    if not key:
        return None
    return int(key[1:]) if key[0] == "i" else key[1:]


class Address(NamedTuple):
    """Where a session is: its user as `user_key` writes it (empty: anonymous) and its handle."""

    user: str
    handle: str


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._stems = tuple(f"{prefix}:{{{tag}}}" for tag in TAGS)
        self.sweeper = f"{prefix}:{{{TAGS[0]}}}:sweeper"
        self.active = f"{prefix}:{{{TAGS[0]}}}:active"
        self.expiries = tuple(f"{stem}:x" for stem in self._stems)

    def stem(self, user: str, handle: str) -> str:
        """`PREFIX:{tag}` of a user's session, or of an anonymous one."""
        return self._stems[zlib.crc32((user or handle).encode()) % TAG_COUNT]

    def session(self, user: str, handle: str) -> str:
        return f"{self._stems[zlib.crc32((user or handle).encode()) % TAG_COUNT]}:s:{handle}"

    def of_session(self, user: str, handle: str) -> tuple[str, str, str]:
        """Session, expiry index and user index; for an anonymous session the last is not used."""
        stem = self.stem(user, handle)
        return f"{stem}:s:{handle}", f"{stem}:x", f"{stem}:u:{user}"

    def ended(self, user: str, handle: str) -> str:
        """The mark of an end that the journal does not have yet."""
        return f"{self.stem(user, handle)}:e:{handle}"

    def on_shard(self, shard: str, name: str) -> str:
        """A key of the primary that holds the key `shard` (empty where there is one primary)."""
        return f"{self._prefix}:{{{shard or TAGS[0]}}}:{name}"

    def user(self, user: str) -> str:
        return f"{self.stem(user, '')}:u:{user}"
