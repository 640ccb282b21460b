"""The contents of a sealed value, or of an access token."""

from __future__ import annotations

from dataclasses import dataclass

from .deployment import Current
from .identity import SessionRef, UserId


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential never changes. Times are milliseconds since the epoch, by Redis' clock.

    `token`: empty for an access token.
    `generation`: the user's when the value was sealed. "End all sessions" raises the user's generation.
    `auth_time`: when the user last gave a password.
    `deadline`: the absolute deadline. `idle_ms`: the idle lifetime.
    `issued_at`: when the value was sealed. `renewed_ms`: the last renewal before the value was sealed.
    `is_persistent`: the browser keeps it ("remember me").
    `epoch`: the deployment's when the session was made. "Everybody out" changes the deployment's epoch.
    `created_ms`: when the session was made; 0 if the value does not tell.
    `is_legacy`: the release before sealed it, bound to no deployment. It opens a stored session and is not trusted alone.
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
        """The generation and epoch that it was sealed with."""
        return Current(self.generation, self.epoch)

    @property
    def user(self) -> str:
        """The user key; empty for an anonymous visitor."""
        return self.ref.user
