"""What a scenario plays on, and what it is: a name, a purpose, steps, and what is expected of the service meanwhile.

    @scenario("two-kills", "The primary is killed, and so is its successor.", degrades=True)
    async def two_kills(stage: Stage) -> None:
        for _ in range(2):
            primary = await stage.stack.primary()
            await stage.kill(primary)
            await stage.promoted(primary)
            await stage.start(primary)
            await stage.whole()

Clients are at it from before the first step until after the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .journal import StoppableJournal
from .judge import Verdict
from .ledger import Answer, Kind
from .load import Load
from .stack import Stack
from .topology import Node
from .workers import Worker

QUICK_HASHES = {"BCRYPT_ROUNDS": "4"}
"""Many can sign in within a second."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the stack."""

    at: float
    kind: Literal["fault", "mend", "note"]
    words: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which more, or less, is expected than otherwise."""

    words: str
    began_at: float
    ended_at: float
    refusable: Collection[Kind] = ()
    must_be_perfect: bool = False

    def has(self, moment: float) -> bool:
        return self.began_at <= moment <= self.ended_at

    def has_whole(self, answer: Answer) -> bool:
        """Whether it was asked and answered inside: what is under way at the end meets what comes next."""
        return self.began_at <= answer.asked_at and answer.asked_at + answer.took <= self.ended_at


@dataclass
class Stage:
    """A running stack with clients. `folder`: for what a scenario keeps; `journal`: where the scenario may stop it."""

    stack: Stack
    load: Load
    folder: Path
    journal: StoppableJournal | None = None
    marks: list[Mark] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    on_mark: Callable[[Mark], None] = lambda _: None

    def mark(self, words: str, kind: Literal["fault", "mend", "note"] = "note") -> None:
        """Write down, for the report, what happens now."""
        mark = Mark(time.monotonic(), kind, words)
        self.marks.append(mark)
        self.on_mark(mark)

    def expect(self, words: str, *, is_so: bool) -> None:
        """Of what no client sees. `words` say what is wrong if it is not so."""
        if not is_so:
            self.missed.append(words)

    @contextlib.contextmanager
    def perfect(self, words: str) -> Iterator[None]:
        """Inside, no answer may fail or be degraded, session data included."""
        began_at = time.monotonic()
        yield
        self.spans.append(Span(words, began_at, time.monotonic(), must_be_perfect=True))

    @contextlib.contextmanager
    def refusing(self, words: str, *kinds: Kind) -> Iterator[None]:
        """Inside, requests of these kinds may be refused."""
        began_at = time.monotonic()
        yield
        self.spans.append(Span(words, began_at, time.monotonic(), kinds))

    async def kill(self, *nodes: Node) -> None:
        self.mark(f"{_names(nodes)} killed", "fault")
        await asyncio.gather(*(node.kill() for node in nodes))

    async def stop(self, *nodes: Node) -> None:
        """In order."""
        self.mark(f"{_names(nodes)} stopped", "fault")
        await asyncio.gather(*(node.stop() for node in nodes))

    async def start(self, *nodes: Node) -> None:
        await asyncio.gather(*(node.start() for node in nodes))
        self.mark(f"{_names(nodes)} started", "mend")

    def hang(self, node: Node) -> None:
        self.mark(f"{node.name} hangs (SIGSTOP)", "fault")
        node.pause()

    def resume(self, node: Node) -> None:
        node.resume()
        self.mark(f"{node.name} goes on (SIGCONT)", "mend")

    def partition(self, nodes: Collection[Node], workers: Collection[Worker]) -> None:
        self.mark(f"{_names([*nodes, *workers])} cut off from the others", "fault")
        self.stack.partition(nodes, workers)

    def heal(self) -> None:
        self.stack.heal()
        self.mark("the network is whole again", "mend")

    async def promoted(self, besides: Node) -> Node:
        """Another server, once it takes writes as the primary."""
        promoted, _ = await self.stack.first_write([node for node in self.stack.nodes if node is not besides])
        self.mark(f"{promoted.name} takes writes")
        return promoted

    async def settled(self, workers: Collection[Worker] | None = None) -> None:
        await self.stack.settled(None if workers is None else list(workers))

    async def whole(self) -> None:
        """Every server is linked and every worker finds the store settled."""
        await self.stack.all_well()
        self.mark("the stack is whole")

    async def everybody_asks(self) -> None:
        """Each signed-in client once, as browsers do: that is what brings a lost session back."""
        await asyncio.gather(*(client.read() for client in self.load.clients if client.session is not None))

    async def restored(self) -> float:
        """Sessions that have come back, of all workers."""
        return sum([await worker.metric("stateroom_sessions_restored_total") or 0.0 for worker in self.stack.workers])


Steps = Callable[[Stage], Awaitable[None]]
Look = Callable[[Stage, Verdict], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`degrades`: there must be degraded answers, else nothing was broken. `keeps_data`: no acknowledged value is lost.

    `load`: how many clients, over `Load`'s own. `looks`: what is looked at afterwards; it uses `Stage.expect`.
    Bounds are seconds that one answer may take.
    """

    name: str
    says: str
    plays: Steps
    degrades: bool = False
    keeps_data: bool = False
    needs_journal: bool = False
    is_for_peers: bool = True
    load: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    looks: Look | None = None
    slowest: float = 1.0
    slowest_login: float = 1.0
    slowest_logout: float = 1.5


def scenario(name: str, says: str, **expects: object) -> Callable[[Steps], Scenario]:
    """Make a scenario of its steps; `expects` are the other members of `Scenario`."""

    def made(plays: Steps) -> Scenario:
        return Scenario(name=name, says=says, plays=plays, **expects)  # type: ignore[arg-type]

    return made


def _names(them: Collection[Node | Worker]) -> str:
    names = [each.folder.name for each in them]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
