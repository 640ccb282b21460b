"""The responses that a drill's clients received. The judge knows nothing else. Times are of the monotonic clock, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["read", "login", "logout", "write"]
NAMES = {"read": "session check", "login": "sign-in", "logout": "sign-out", "write": "write"}
"""The kinds of requests in words, for messages."""
IDENTITY_KINDS: tuple[Kind, ...] = ("read", "login", "logout")
"""Requests that must never be refused, even while Redis is unavailable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and its response.

    `worker`: the worker's number. `took`: seconds until the response. `status`: the HTTP status, or 0 without a response.
    `is_out`: the client was signed in and did not sign out, but was told that nobody is signed in. `words`: the error.
    `who`: the client's email. `is_another`: the response names another user than the client's own. `ended`: why the session has
    ended, if the response says so. `stood_still`: seconds of `took` in which the client's own process did not run,
    `0 <= stood_still <= took`.
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
    is_another: bool = False
    ended: str = ""

    @property
    def waited(self) -> float:
        """Seconds that the service needed."""
        return self.took - self.stood_still

    @property
    def is_failed(self) -> bool:
        """Whether the status is 5xx or there was no response."""
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True, slots=True)
class Write:
    """A value that the service acknowledged as stored."""

    value: int
    acknowledged_at: float


@dataclass(slots=True)
class SignedIn:
    """A session, from the acknowledged sign-in to its end.

    `cookie`: the newest value. `since`: when the sign-in was acknowledged. `is_degraded`: the sign-in was made without Redis.
    `handle`: the session's public id; empty if the client never learned it. `logout_asked_at`: when the sign-out was sent.
    `ended_at`: when the sign-out was acknowledged, `logout_asked_at <= ended_at`. `writes`: the last acknowledged value of
    each key. `user_id`: of the account; 0 if the service does not tell. `is_account_lost`: the user database was restored and lacks
    the account, so the session must end. `unknown_at`: when the service first said that it ended for this reason.
    """

    email: str
    cookie: str
    since: float
    is_degraded: bool
    handle: str = ""
    logout_asked_at: float | None = None
    ended_at: float | None = None
    writes: dict[str, Write] = field(default_factory=dict)
    user_id: int = 0
    is_account_lost: bool = False
    unknown_at: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether the session must still be valid. If a sign-out was sent but not acknowledged, it may be valid or ended."""
        return self.logout_asked_at is None and not self.is_account_lost


@dataclass(frozen=True, slots=True)
class RevivedSession:
    """An ended session that a worker accepted in a request sent after the end was acknowledged, or that is stored again.

    `after_seconds`: from the acknowledgement to the request; negative if the judge asked after the drill.
    """

    session: SignedIn
    worker: int
    after_seconds: float


@dataclass(slots=True)
class Ledger:
    """The entries of one client, or of all clients together."""

    answers: list[Answer] = field(default_factory=list)
    sessions: list[SignedIn] = field(default_factory=list)
    revived: list[RevivedSession] = field(default_factory=list)

    def take(self, other: Ledger) -> None:
        """Add the entries of another ledger."""
        self.answers += other.answers
        self.sessions += other.sessions
        self.revived += other.revived
