"""What happens in a stack while it is drilled: Sentinels' events, servers' roles, the store as each worker sees it.

It asks the servers and Sentinels themselves, not by way of the relays, so that it sees both sides of a partition.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from redis.exceptions import RedisError

from .stack import Stack, role
from .topology import Node

LOOK_SECONDS = 0.25
LISTEN_AGAIN_SECONDS = 0.1
CANCEL_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """What a Sentinel published."""

    at: float
    sentinel: str
    channel: str
    words: str

    @property
    def is_of_primary(self) -> bool:
        return self.words.startswith("master ")


@dataclass(slots=True)
class Track:
    """What somebody was, and since when: entries only where it changed."""

    name: str
    changes: list[tuple[float, str]] = field(default_factory=list)

    @property
    def now(self) -> str:
        return self.changes[-1][1] if self.changes else ""

    def note(self, at: float, value: str) -> None:
        if value != self.now:
            self.changes.append((at, value))


@dataclass
class Recorder:
    """Looks until it is left."""

    stack: Stack
    events: list[Event] = field(default_factory=list)
    workers: list[Track] = field(default_factory=list)
    servers: list[Track] = field(default_factory=list)
    sentinels: list[Track] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _: None

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        self.workers = [Track(worker.folder.name) for worker in self.stack.workers]
        self.servers = [Track(node.name) for node in self.stack.nodes]
        self.sentinels = [Track(node.name) for node in self.stack.sentinels]
        tasks = [asyncio.create_task(self._listen(sentinel)) for sentinel in self.stack.sentinels]
        for track, worker in zip(self.workers, self.stack.workers, strict=True):
            tasks.append(asyncio.create_task(_follow(track, worker.state)))
        for track, node in zip(self.servers, self.stack.nodes, strict=True):
            tasks.append(asyncio.create_task(_follow(track, partial(_what, node))))
        for track, node in zip(self.sentinels, self.stack.sentinels, strict=True):
            tasks.append(asyncio.create_task(_follow(track, partial(_is_up, node))))
        try:
            yield
        finally:
            await _cancel(tasks)

    async def _listen(self, sentinel: Node) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._listen_once(sentinel)
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def _listen_once(self, sentinel: Node) -> None:
        assert sentinel.dialer is not None
        connection = await sentinel.dialer.dial(sentinel.address)
        try:
            await connection.send_command("PSUBSCRIBE", "*", check_health=False)
            while True:
                push = await connection.read_response(timeout=math.inf, push_request=True)
                if push[0] == b"pmessage":
                    event = Event(time.monotonic(), sentinel.name, push[2].decode(), push[3].decode())
                    self.events.append(event)
                    self.on_event(event)
        finally:
            await connection.disconnect(nowait=True)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """More than once: redis-py waits by `asyncio.wait_for`, which before Python 3.12 may take a cancellation for itself."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)


async def _follow(track: Track, look: Callable[[], Awaitable[str]]) -> None:
    while True:
        looked_at = time.monotonic()
        track.note(looked_at, await look())
        await asyncio.sleep(max(0.0, looked_at + LOOK_SECONDS - time.monotonic()))


async def _what(node: Node) -> str:
    said = await role(node)
    return {"master": "primary", "away": "away"}.get(said, "replica")


async def _is_up(node: Node) -> str:
    return "up" if node.is_running else "away"
