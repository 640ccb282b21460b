"""Names of keys in Redis.

Every key is `PREFIX:{tag}:…`. There are 1,024 tags. The tag is computed from the user key (from the handle for an
anonymous visitor), so a user's sessions, their index and their expiry index share a Cluster slot, and each step is one
atomic script. The tags are chosen 16 slots apart: however a Cluster divides its 16,384 slots, each shard gets its even
share.

    PREFIX:{tag}:s:HANDLE   a session, a hash
    PREFIX:{tag}:u:USER     a user's sessions, a sorted set of handles by time of creation
    PREFIX:{tag}:x          all sessions of the tag by time of expiry, members HANDLE:CREATED:USER
    PREFIX:{tag}:e:HANDLE   the tombstone of a session whose end the journal may not have yet, or that has no journal
    PREFIX:{shard}:mark     the journal's cursor: up to which row a primary has the ends
    PREFIX:{shard}:slots    in a Cluster, the slots for which the cursor is right: NUMBER:STAMP, NUMBER hexadecimal, bit n is
                            slot n, STAMP random
    PREFIX:{shard}:row      the last row that the cursor has passed: its number and its nonce
    PREFIX:{shard}:epoch    the deployment's epoch
    PREFIX:{shard}:fleet    the id of the deployment that this Redis belongs to
"""

from __future__ import annotations

import itertools
import zlib

from redis.crc import key_slot

from ..model.identity import SessionRef

TAG_COUNT = 1024
_SLOTS_PER_TAG = 16384 // TAG_COUNT
assert _SLOTS_PER_TAG * TAG_COUNT == 16384, "each shard's share is even only if the tags divide the slots"


def _spread_tags() -> tuple[str, ...]:
    tags: dict[int, str] = {}
    for number in itertools.count():
        name = f"{number:x}"
        tags.setdefault(key_slot(name.encode()) // _SLOTS_PER_TAG, name)
        if len(tags) == TAG_COUNT:
            return tuple(tags[share] for share in range(TAG_COUNT))
    raise AssertionError("unreachable")


TAGS = _spread_tags()


class KeyNames:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._stems = tuple(f"{prefix}:{{{tag}}}" for tag in TAGS)
        self.sweeper = f"{prefix}:{{{TAGS[0]}}}:sweeper"
        self.active = f"{prefix}:{{{TAGS[0]}}}:active"
        self.expiries = tuple(f"{stem}:x" for stem in self._stems)

    def session(self, ref: SessionRef) -> str:
        """The session's hash."""
        user, handle = ref
        return f"{self._stems[zlib.crc32((user or handle).encode()) % TAG_COUNT]}:s:{handle}"

    def of_session(self, ref: SessionRef) -> tuple[str, str, str]:
        """Session, expiry index and user index; an anonymous session does not use the last."""
        stem = self._stem(ref)
        return f"{stem}:s:{ref.handle}", f"{stem}:x", f"{stem}:u:{ref.user}"

    def tombstone(self, ref: SessionRef) -> str:
        """The tombstone of a session that was ended while the journal was unavailable."""
        return f"{self._stem(ref)}:e:{ref.handle}"

    def of_user(self, user: str) -> tuple[str, str]:
        """The user's index, and the expiry index of their sessions."""
        stem = self._stem(SessionRef(user, ""))
        return f"{stem}:u:{user}", f"{stem}:x"

    def cursor(self, shard: str) -> str:
        """The journal's cursor on the primary that holds the key `shard` (empty if there is one primary)."""
        return self._on_shard(shard, "mark")

    def cursor_slots(self, shard: str) -> str:
        """The slots of a Cluster for which the cursor is right, on the same primary."""
        return self._on_shard(shard, "slots")

    def cursor_row(self, shard: str) -> str:
        """The last row that the cursor has passed, on the same primary."""
        return self._on_shard(shard, "row")

    def epoch(self, shard: str) -> str:
        """The deployment's epoch, on the same primary."""
        return self._on_shard(shard, "epoch")

    def fleet(self, shard: str) -> str:
        """The deployment's id, on the same primary."""
        return self._on_shard(shard, "fleet")

    def _on_shard(self, shard: str, name: str) -> str:
        return f"{self._prefix}:{{{shard or TAGS[0]}}}:{name}"

    def _stem(self, ref: SessionRef) -> str:
        """`PREFIX:{tag}` of a user's session, or of an anonymous one."""
        return self._stems[zlib.crc32((ref.user or ref.handle).encode()) % TAG_COUNT]
