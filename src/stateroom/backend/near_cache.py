"""Copies of what one primary has said, which it keeps current: RESP3 client-side caching.

`CLIENT TRACKING ON` (https://valkey.io/topics/client-side-caching/) is part of making the shared connection. From then
on the server remembers which keys were read over it, and tells once, over the same connection, when one of them has
changed, expired or was evicted. That is its default mode: the other one, broadcasting, would tell every process of
every change of every session. What the server has to remember is bounded (`tracking-table-max-keys`); beyond that it
forgets a key and says that it changed.

When may a copy stand for an answer?

- *News is not overtaken.* A read is noted when it is sent. News of its key strikes the note out, and so does a write
  of our own; only a read whose note stands becomes a copy. Replies and news come in the order the server made them,
  so a copy that stands is what the server has, as far as it has been heard.
- *The server is being heard.* A read that was answered shows that all news from before it was carried out has come.
  Copies are used only while such a read left less than `HEARD_SECONDS` ago; to keep it so, one read in
  `ASK_SECONDS` goes to the server although there is a copy. A server that hangs, or a connection that was cut without
  a word, makes copies useless by itself. So a change is known everywhere `KNOWN_SECONDS` after it was made.
- *Nothing is old.* A copy is used for `max_age` seconds at most, and never outlives its connection.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

log = structlog.get_logger(__name__)

HEARD_SECONDS = 0.04
ASK_SECONDS = 0.01
KNOWN_SECONDS = 0.05
"""`HEARD_SECONDS`, and something for timers that are early."""
COPIES_AT_MOST = 10_000
LARGEST_BYTES = 4096
"""Larger hashes are not kept: what a process keeps stays below 40 MB of data, and is a tenth of that as a rule."""


class _Batch:
    """Reads that leave in one write, and when they did."""

    __slots__ = ("left_at",)

    def __init__(self) -> None:
        self.left_at = 0.0


class NearCache:
    """The copies of one primary's hashes. `lost` and `begin` frame the life of each connection to it."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._copies: OrderedDict[str, tuple[dict[bytes, bytes], float]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._batch = _Batch()
        self._life = 0
        self._is_told = False
        self._has_warned = False

    def __len__(self) -> int:
        return len(self._copies)

    async def begin(self, connection: AbstractConnection) -> None:
        """Have the server tell of changes over this connection, before anything is read over it.

        One that does not know how, or a user who may not ask for it, costs the copies and nothing else.
        """
        self._is_told = False
        await connection.send_command("CLIENT", "TRACKING", "ON", check_health=False)
        try:
            await connection.read_response()
        except ResponseError as error:
            if not self._has_warned:
                log.warning("near_cache_off", reason=str(error), mend="allow +client|tracking to the user (deploy/users.acl)")
            self._has_warned = True
            return
        self._is_told = True

    def lost(self) -> None:
        """The connection is: what was learnt over it may be wrong from now on."""
        self._life += 1
        self._is_told = False
        self._heard_at = 0.0
        self._forget_all()

    def get(self, key: str) -> dict[bytes, bytes] | None:
        """The copy of a hash, which must not be changed; None where the server is to be asked."""
        copy = self._copies.get(key)
        if copy is None:
            return None
        now = time.monotonic()
        if now - self._heard_at >= HEARD_SECONDS or now - self._asked_at >= ASK_SECONDS or now >= copy[1]:
            return None
        self._copies.move_to_end(key)
        return copy[0]

    def note(self, key: str, reply: asyncio.Future[Any]) -> None:
        """A hash is being read over the connection; keep what the reply says."""
        if self._is_told:
            self._asked[key] = reply
            self._asked_at = now = time.monotonic()
            reply.add_done_callback(partial(self._take, key, now, self._batch, self._life))

    def leaves(self) -> None:
        """What was asked for until now leaves together: on a busy loop that may be a while after it was asked for."""
        self._batch.left_at = time.monotonic()
        self._batch = _Batch()

    def hear(self, push: list[Any]) -> None:
        """What the server says unasked: which keys have changed, or (a flush) that all have."""
        if push[0] != b"invalidate":
            return
        if push[1] is None:
            self._forget_all()
        else:
            self.drop(key.decode(errors="replace") for key in push[1])

    def drop(self, keys: Iterable[str]) -> None:
        """These have changed. A writer says so itself before its call returns: the news may be slower than the reply."""
        for key in keys:
            self._copies.pop(key, None)
            self._asked.pop(key, None)

    def _forget_all(self) -> None:
        self._copies.clear()
        self._asked.clear()

    def _take(self, key: str, asked_at: float, batch: _Batch, life: int, reply: asyncio.Future[Any]) -> None:
        is_noted = self._asked.get(key) is reply
        if is_noted:
            del self._asked[key]
        if life != self._life or reply.cancelled() or reply.exception() is not None:
            return
        self._heard_at = max(self._heard_at, batch.left_at)
        fields = reply.result()
        if not is_noted:
            return
        self._copies.pop(key, None)
        if fields and sum(map(len, fields)) + sum(map(len, fields.values())) <= LARGEST_BYTES:
            self._copies[key] = fields, asked_at + self._max_age
            if len(self._copies) > COPIES_AT_MOST:
                self._copies.popitem(last=False)
