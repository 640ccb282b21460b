"""What a sealed value, or an access token, says of a session."""

from __future__ import annotations

from dataclasses import dataclass

from .deployment import Current
from .identity import SessionRef, UserId


@dataclass(frozen=True, slots=True)
class Credential:
    """Times are milliseconds since the epoch, by Redis' clock. It never changes: what a worker saw in Redis is a `Sighting`.

    `token`: empty if an access token says all this.
    `generation`: the user's when the value was sealed; "end all" raises the user's.
    `auth_time`: when the user last gave a password.
    `deadline`: the absolute end. `idle_ms`: the idle lifetime.
    `issued_at`: when the value was sealed. `renewed_ms`: the last renewal that the value tells of.
    `is_persistent`: the browser keeps it ("remember me").
    `epoch`: the deployment's when the session was made; "everybody out" changes the deployment's (journal/tail.py).
    `created_ms`: when the session was made; 0 if the value does not say.
    `is_legacy`: the release before sealed it, bound to no deployment: it opens a stored session and stands for nothing alone.
    """

    token: bytes
    user_id: UserId | None
    generation: int
    auth_time: int
    deadline: int
    idle_ms: int
    issued_at: int
    is_persistent: bool
    ref: SessionRef
    renewed_ms: int
    epoch: str = ""
    created_ms: int = 0
    is_legacy: bool = False

    @property
    def handle(self) -> str:
        """The session's public id."""
        return self.ref.handle

    @property
    def carried(self) -> Current:
        """What it was sealed with."""
        return Current(self.generation, self.epoch)

    @property
    def user(self) -> str:
        """The user key; empty for an anonymous visitor."""
        return self.ref.user
