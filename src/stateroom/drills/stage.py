"""A scenario (name, purpose, steps, expectations), and the stage on which its steps act.

    @scenario("two-kills", "The primary is killed, and then its successor too.", degrades=True)
    async def two_kills(stage: Stage) -> None:
        for _ in range(2):
            primary = await stage.stack.primary()
            await stage.kill(primary)
            await stage.promoted(primary)
            await stage.settled()
            await stage.start(primary)
            await stage.whole()

Clients send requests from before the first step until after the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .journal import JournalKind, StoppableJournal
from .judge import Verdict
from .ledger import Answer, Kind
from .load import Load
from .node import Node, until
from .stack import Stack
from .workers import Worker

QUICK_HASHES = {"BCRYPT_ROUNDS": "4"}
"""Many clients can sign in within a second."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the scenario did to the stack, for the report. `at`: of the monotonic clock, in seconds."""

    at: float
    kind: Literal["fault", "fix", "note"]
    words: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time with its own expectations, `began_at <= ended_at`, of the monotonic clock, in seconds.

    `refusable`: requests that may be refused; `clients`: only those of the clients with these emails, if given.
    `must_be_perfect`: no response may fail or be degraded.
    """

    words: str
    began_at: float
    ended_at: float
    refusable: Collection[Kind] = ()
    must_be_perfect: bool = False
    clients: Collection[str] | None = None

    def excuses(self, answer: Answer) -> bool:
        """Whether this request may be refused. A request that was under way when the span began may be refused too."""
        is_meant = answer.kind in self.refusable and (self.clients is None or answer.who in self.clients)
        return is_meant and answer.asked_at <= self.ended_at and answer.asked_at + answer.took >= self.began_at

    def has(self, moment: float) -> bool:
        """Whether this moment is inside."""
        return self.began_at <= moment <= self.ended_at

    def has_whole(self, answer: Answer) -> bool:
        """Whether the request was sent and its response received inside. A request under way at the end meets the next step too."""
        return self.began_at <= answer.asked_at and answer.asked_at + answer.took <= self.ended_at


@dataclass
class Stage:
    """A running stack with clients.

    `folder`: for the scenario's own files. `journal`: set if the scenario `needs_journal`. `marks`, `spans`: in order of
    time. `missed`: expectations that were not met, in words. `is_hurried`: the service lacks a
    protection, so the steps wait less long. `on_mark` is called for each new mark.
    """

    stack: Stack
    load: Load
    folder: Path
    journal: StoppableJournal | None = None
    marks: list[Mark] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    is_hurried: bool = False
    on_mark: Callable[[Mark], None] = lambda _: None

    def mark(self, words: str, kind: Literal["fault", "fix", "note"] = "note") -> None:
        """Add a line to the report, with the present time."""
        mark = Mark(time.monotonic(), kind, words)
        self.marks.append(mark)
        self.on_mark(mark)

    def expect(self, words: str, *, is_so: bool) -> None:
        """Expect something that no client sees. `words` become a fault if `is_so` is false."""
        if not is_so:
            self.missed.append(words)

    @contextlib.contextmanager
    def perfect(self, words: str) -> Iterator[None]:
        """Inside this context no response may fail or be degraded. This includes writes of session data."""
        began_at = time.monotonic()
        yield
        self.spans.append(Span(words, began_at, time.monotonic(), must_be_perfect=True))

    @contextlib.contextmanager
    def refusing(self, words: str, *kinds: Kind, clients: Collection[str] | None = None) -> Iterator[None]:
        """Inside this context requests of these kinds may be refused. `clients`: only those of the clients with these emails."""
        began_at = time.monotonic()
        try:
            yield
        finally:
            self.spans.append(Span(words, began_at, time.monotonic(), kinds, clients=clients))

    async def kill(self, *nodes: Node) -> None:
        """Kill with SIGKILL."""
        self.mark(f"{_names(nodes)} killed", "fault")
        await asyncio.gather(*(node.kill() for node in nodes))

    async def stop(self, *nodes: Node) -> None:
        """Stop with SIGTERM: the nodes can write their data to disk."""
        self.mark(f"{_names(nodes)} stopped", "fault")
        await asyncio.gather(*(node.stop() for node in nodes))

    async def start(self, *nodes: Node) -> None:
        """Start, and return when all reply."""
        await asyncio.gather(*(node.start() for node in nodes))
        self.mark(f"{_names(nodes)} started", "fix")

    async def replace_sentinels(self) -> None:
        """Kill all Sentinels, and start empty ones at the same addresses. They know only the present primary."""
        primary = await self.stack.primary()
        self.mark("all Sentinels replaced by empty ones", "fault")
        await self.stack.replace_sentinels(primary)
        self.mark("the new Sentinels reply", "fix")

    def hang(self, node: Node) -> None:
        """Stop the process with SIGSTOP: its connections stay open, and it answers nothing."""
        self.mark(f"{node.name} hangs (SIGSTOP)", "fault")
        node.pause()

    def resume(self, node: Node) -> None:
        """Continue a process that hangs."""
        node.resume()
        self.mark(f"{node.name} continues (SIGCONT)", "fix")

    def partition(self, nodes: Collection[Node], workers: Collection[Worker]) -> None:
        """Cut these off from all others. Among themselves they still reach each other."""
        self.mark(f"{_names([*nodes, *workers])} cut off from the others", "fault")
        self.stack.partition(nodes, workers)

    def heal(self) -> None:
        """End the partition."""
        self.stack.heal()
        self.mark("the partition ends", "fix")

    async def promoted(self, besides: Node) -> Node:
        """Wait until another server than `besides` accepts writes, and return it."""
        promoted, _ = await self.stack.first_write([node for node in self.stack.nodes if node is not besides])
        self.mark(f"{promoted.name} accepts writes")
        return promoted

    async def settled(self, workers: Collection[Worker] | None = None) -> None:
        """Wait until these workers, or all, report Redis as settled."""
        await self.stack.settled(None if workers is None else list(workers))

    async def whole(self) -> None:
        """Wait until every replica is linked and every worker reports Redis as settled."""
        async with self.stack.hurried() if self.is_hurried else contextlib.nullcontext():
            await self.stack.all_well()
        self.mark("all replicas are linked, and all workers report Redis as settled")

    async def happens(self, condition: Callable[[], Awaitable[bool]], words: str, *, seconds: float) -> bool:
        """Wait for something, at most this long. If it does not happen, that is a fault, and the scenario goes on."""
        try:
            await until(condition, words, seconds=seconds)
        except TimeoutError as error:
            self.expect(str(error), is_so=False)
            return False
        return True

    async def everybody_asks(self) -> None:
        """Let each signed-in client send one request. The request makes a worker store a lost session again."""
        await asyncio.gather(*(client.read() for client in self.load.clients if client.session is not None))

    async def restored(self) -> float:
        """How many sessions all workers together have stored again."""
        return sum([await worker.metric("stateroom_sessions_restored_total") or 0.0 for worker in self.stack.workers])


Steps = Callable[[Stage], Awaitable[None]]
Look = Callable[[Stage, Verdict], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A scenario.

    `name`: on the command line. `says`: what happens, in one or two sentences. `plays`: its steps. `degrades`: some responses
    must be degraded, else the scenario broke nothing. `keeps_data`: no acknowledged value may be lost. `needs_journal`: the
    steps stop or restore the user database. `journal_kind`: its product; if None, PostgreSQL if it is installed, else SQLite.
    `is_for_peers`: it can be played on a peer too. `load`: arguments of `Load`, in place of its defaults. `environment`: more
    settings of the service. `switches`: more options of `stateroom.drills.worker`, if the scenario `needs_journal`. `looks`:
    checks after the drill; it uses `Stage.expect`. `round_trip`: of every link to a server or a Sentinel, in seconds.
    `slowest`, `slowest_login`, `slowest_logout`: seconds that one response may take.
    """

    name: str
    says: str
    plays: Steps
    degrades: bool = False
    keeps_data: bool = False
    needs_journal: bool = False
    journal_kind: JournalKind | None = None
    is_for_peers: bool = True
    load: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    switches: Sequence[str] = ()
    looks: Look | None = None
    round_trip: float = 0.0
    slowest: float = 1.0
    slowest_login: float = 1.0
    slowest_logout: float = 1.5


def scenario(name: str, says: str, **expects: object) -> Callable[[Steps], Scenario]:
    """Decorate a scenario's steps. `expects`: the other fields of `Scenario`."""

    def made(plays: Steps) -> Scenario:
        return Scenario(name=name, says=says, plays=plays, **expects)  # type: ignore[arg-type]

    return made


def _names(them: Collection[Node | Worker]) -> str:
    names = [each.folder.name for each in them]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
