"""Records a stack during a drill: the Sentinels' events, the servers' roles, and the state of Redis that each worker reports.

It connects to servers and Sentinels directly, past the relays, so that it sees both sides of a partition. Times are of
the monotonic clock, in seconds.
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

from .node import Node
from .stack import Stack, role

ASK_SECONDS = 0.25
LISTEN_AGAIN_SECONDS = 0.1
CANCEL_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """One message that a Sentinel published. `words`: its text (https://valkey.io/topics/sentinel/, "Pub/Sub messages")."""

    at: float
    sentinel: str
    channel: str
    words: str

    @property
    def is_of_primary(self) -> bool:
        """Whether it concerns the primary, not a replica or a Sentinel."""
        return self.words.startswith("master ")


@dataclass(slots=True)
class Track:
    """The states of one process over time.

    `changes`: (time, state), in order of time; two neighbours never have the same state.
    """

    name: str
    changes: list[tuple[float, str]] = field(default_factory=list)

    @property
    def now(self) -> str:
        """The last state; empty before the first."""
        return self.changes[-1][1] if self.changes else ""

    def add(self, at: float, value: str) -> None:
        """Add a state, if it differs from the last."""
        if value != self.now:
            self.changes.append((at, value))


@dataclass
class Recorder:
    """Records while inside `recording()`. There is one track per worker, server and Sentinel, in the order of the stack."""

    stack: Stack
    events: list[Event] = field(default_factory=list)
    workers: list[Track] = field(default_factory=list)
    servers: list[Track] = field(default_factory=list)
    sentinels: list[Track] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda _: None

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record inside this context."""
        self.workers = [Track(worker.folder.name) for worker in self.stack.workers]
        self.servers = [Track(node.name) for node in self.stack.nodes]
        self.sentinels = [Track(node.name) for node in self.stack.sentinels]
        tasks = [asyncio.create_task(self._listen(sentinel)) for sentinel in self.stack.sentinels]
        for track, worker in zip(self.workers, self.stack.workers, strict=True):
            tasks.append(asyncio.create_task(_follow(track, worker.state)))
        for track, node in zip(self.servers, self.stack.nodes, strict=True):
            tasks.append(asyncio.create_task(_follow(track, partial(_role, node))))
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
    """Cancel tasks, repeatedly: redis-py uses `asyncio.wait_for`, which before Python 3.12 can swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)


async def _follow(track: Track, ask: Callable[[], Awaitable[str]]) -> None:
    while True:
        asked_at = time.monotonic()
        track.add(asked_at, await ask())
        await asyncio.sleep(max(0.0, asked_at + ASK_SECONDS - time.monotonic()))


async def _role(node: Node) -> str:
    answer = await role(node)
    return {"master": "primary", "away": "away"}.get(answer, "replica")


async def _is_up(node: Node) -> str:
    return "up" if node.is_running else "away"
