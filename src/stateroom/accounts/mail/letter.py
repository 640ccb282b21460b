"""What is sent: a letter, made from a waiting mail at the moment of sending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Kind = Literal["verify", "change", "change_asked", "changed", "reset", "taken", "invitation", "password_set"]
"""What a mail is about. Each kind has its templates, `KIND.txt` and `KIND.html`."""


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """A row of the table of mails. `id`: 32 random hex digits, the same for every attempt. `address`: as typed by somebody.

    `user_id`: None if the mail is for somebody without an account, or if the sender must look the account up.
    `details`: what JSON can express. `attempts`: how often sending was tried before.
    """

    id: str
    kind: Kind
    user_id: int | None
    address: str
    details: Mapping[str, Any]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to one address. `values`: what its templates show, for example `name`, `link`, `hours`."""

    kind: Kind
    to: str
    values: Mapping[str, str]


Compose = Callable[["AsyncConnection", WaitingMail], Awaitable[Letter | None]]
"""Makes the letter of a waiting mail, in a transaction. Returns None if nothing is to be sent: the row is deleted then."""
