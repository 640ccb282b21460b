"""What clients were told: the only witness in a drill. Times are of the monotonic clock, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["read", "login", "logout", "write"]
IDENTITY_KINDS: tuple[Kind, ...] = ("read", "login", "logout")
"""What must never be refused while Redis is away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came of it. `status` 0: no answer at all.

    `is_out`: a client that was signed in, and had asked for nothing else, was told that it is not.
    `stood_still`: seconds of `took` in which the client's own process stood still.
    """

    kind: Kind
    worker: int
    asked_at: float
    took: float
    status: int
    is_degraded: bool = False
    is_out: bool = False
    words: str = ""
    who: str = ""
    stood_still: float = 0.0

    @property
    def waited(self) -> float:
        """Seconds for which the service has kept the client waiting."""
        return self.took - self.stood_still

    @property
    def is_failed(self) -> bool:
        """5xx, or no answer."""
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True, slots=True)
class Write:
    """A value that the service has acknowledged to have stored."""

    value: int
    acknowledged_at: float


@dataclass(slots=True)
class SignedIn:
    """A session that the service has acknowledged, from the sign-in to the end."""

    email: str
    cookie: str
    since: float
    is_degraded: bool
    handle: str = ""
    logout_asked_at: float | None = None
    ended_at: float | None = None
    writes: dict[str, Write] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether it must be good. One whose logout got no good answer may be either."""
        return self.logout_asked_at is None


@dataclass(frozen=True, slots=True)
class Ghost:
    """An ended session that was honoured by a request sent after its end had been acknowledged."""

    session: SignedIn
    worker: int
    after_seconds: float


@dataclass(slots=True)
class Ledger:
    """Of one client, or of all of them put together."""

    answers: list[Answer] = field(default_factory=list)
    sessions: list[SignedIn] = field(default_factory=list)
    ghosts: list[Ghost] = field(default_factory=list)

    def take(self, other: Ledger) -> None:
        """Add another's entries."""
        self.answers += other.answers
        self.sessions += other.sessions
        self.ghosts += other.ghosts
