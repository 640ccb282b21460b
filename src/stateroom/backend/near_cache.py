"""Copies of session hashes, which the server keeps current: RESP3 client-side caching.

`CLIENT TRACKING ON` (https://valkey.io/topics/client-side-caching/) is sent on each new shared connection. From then on
the server remembers which keys were read over this connection. When one of them changes, expires or is evicted, the
server sends one invalidation message over the same connection. This is the default mode of tracking. The other mode,
broadcasting, would send every change of every session to every process. The server remembers a limited number of keys
(`tracking-table-max-keys`). Beyond that it forgets a key and sends an invalidation for it.

A copy may replace a reply of the server under three rules:

- *No invalidation is missed.* A read is registered when it is sent. An invalidation of its key cancels the read, and so
  does a write of our own. The reply of a cancelled read does not become a copy. Replies and invalidations arrive in the
  order in which the server made them, so a copy is correct up to the last message from the server.
- *The server replies.* When a read has its reply, every invalidation from before that read has arrived. Copies are used
  only while such a read was sent less than `HEARD_SECONDS` ago. To keep this true, one read in `ASK_SECONDS` goes to the
  server although there is a copy. If the server hangs, or the connection breaks silently, copies become unusable by
  themselves. So every process knows a change `KNOWN_SECONDS` after it was made.
- *No copy is old.* A copy is used for at most `max_age` seconds, and never after its connection is lost.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from ..insides import of_redis
from ..logs import get_logger

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = get_logger(__name__)

HEARD_SECONDS = 0.04
ASK_SECONDS = 0.01
KNOWN_SECONDS = 0.05
"""`HEARD_SECONDS`, and a margin for timers that fire early."""
COPIES_AT_MOST = 10_000
LARGEST_BYTES = 4096
"""Larger hashes are not kept, so the copies of a process have at most 40 MB of data. A tenth of that is usual."""

assert ASK_SECONDS < HEARD_SECONDS, "copies would become unusable between two reads although the server answers"
assert HEARD_SECONDS < KNOWN_SECONDS, "a copy could be used for longer than is promised"

_ALLOW_TRACKING = "give the Redis user of the service the right +client|tracking, as in deploy/users.acl"
_ALLOW_HELLO = "remove the rename-command for HELLO from the configuration of Redis, or unset SESSION_CACHE_MAX_AGE"


class _Batch:
    """Reads that are sent in one write. `sent_at`: when they were sent; 0 until then."""

    __slots__ = ("sent_at",)

    def __init__(self) -> None:
        self.sent_at = 0.0


class NearCache:
    """Copies of one primary's hashes. `begin` is called on each new connection, `lost` when a connection is lost."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        # Key -> (fields, the time until which they may be used). Every copy came over the present connection.
        # len(_copies) <= COPIES_AT_MOST. The copy that was used last is at the end.
        self._copies: OrderedDict[str, tuple[dict[bytes, bytes], float]] = OrderedDict()
        # Key -> the last read of it, while it has no reply yet and nothing has cancelled it.
        self._reads: dict[str, asyncio.Future[Any]] = {}
        # When the last read was registered. Never decreases.
        self._read_at = 0.0
        # When the last read with a reply was sent; 0 if no read over the present connection has one.
        self._heard_at = 0.0
        # The reads that are registered and not sent yet: _batch.sent_at == 0.
        self._batch = _Batch()
        # How many connections were lost. A reply that arrives after its connection was lost is ignored.
        self._losses = 0
        # Whether the server sends invalidations over the present connection. False without a connection.
        self._is_tracking = False
        # Never becomes False again: one warning for each process.
        self._has_warned = False

    def __len__(self) -> int:
        return len(self._copies)

    async def begin(self, connection: AbstractConnection) -> None:
        """Turn tracking on, before anything is read over this connection.

        If the server does not know the command or RESP3, or the user may not run it, there are no copies. Everything else works.
        """
        self._is_tracking = False
        if of_redis.resp_version_of(connection) != 3:
            self._warn("the server refuses HELLO 3, and invalidation messages need RESP3", _ALLOW_HELLO)
            return
        await connection.send_command("CLIENT", "TRACKING", "ON", check_health=False)
        try:
            await connection.read_response()
        except ResponseError as error:
            self._warn(str(error), _ALLOW_TRACKING)
            return
        self._is_tracking = True

    def _warn(self, reason: str, fix: str) -> None:
        if not self._has_warned:
            log.warning("near_cache_off", reason=reason, fix=fix)
        self._has_warned = True

    def lost(self) -> None:
        """The connection is lost, and no invalidation arrives any more: forget all copies."""
        self._losses += 1
        self._is_tracking = False
        self._heard_at = 0.0
        self.forget_all()

    def get(self, key: str) -> dict[bytes, bytes] | None:
        """The copy of a hash, or None if the server must be asked. The caller must not change the copy."""
        copy = self._copies.get(key)
        if copy is None:
            return None
        now = time.monotonic()
        if now - self._heard_at >= HEARD_SECONDS or now - self._read_at >= ASK_SECONDS or now >= copy[1]:
            return None
        self._copies.move_to_end(key)
        return copy[0]

    def keep_reply(self, key: str, reply: asyncio.Future[Any]) -> None:
        """Register a read of a hash over the connection. Its reply becomes the key's copy unless something cancels it."""
        if self._is_tracking:
            self._reads[key] = reply
            self._read_at = now = time.monotonic()
            reply.add_done_callback(partial(self._keep, key, now, self._batch, self._losses))

    def batch_sent(self) -> None:
        """All reads that are registered now are sent in one write. On a busy loop this is later than their registration."""
        self._batch.sent_at = time.monotonic()
        self._batch = _Batch()

    def on_push(self, push: list[Any]) -> None:
        """Handle a message that the server sends unasked. It names the keys that changed, or none if all are flushed."""
        if push[0] != b"invalidate":
            return
        if push[1] is None:
            self.forget_all()
        else:
            self.drop(key.decode(errors="replace") for key in push[1])

    def drop(self, keys: Iterable[str]) -> None:
        """Forget keys that have changed.

        A writer calls this before its own call returns, because the invalidation may arrive after the reply.
        """
        for key in keys:
            self._copies.pop(key, None)
            self._reads.pop(key, None)

    def forget_all(self) -> None:
        """Forget every copy, and keep no reply to the reads that are under way."""
        self._copies.clear()
        self._reads.clear()

    def _keep(self, key: str, read_at: float, batch: _Batch, losses: int, reply: asyncio.Future[Any]) -> None:
        is_good = self._reads.get(key) is reply
        if is_good:
            del self._reads[key]
        if losses != self._losses or reply.cancelled() or reply.exception() is not None:
            return
        self._heard_at = max(self._heard_at, batch.sent_at)
        fields = reply.result()
        if not is_good:
            return
        self._copies.pop(key, None)
        if fields and sum(map(len, fields)) + sum(map(len, fields.values())) <= LARGEST_BYTES:
            self._copies[key] = fields, read_at + self._max_age
            if len(self._copies) > COPIES_AT_MOST:
                self._copies.popitem(last=False)
