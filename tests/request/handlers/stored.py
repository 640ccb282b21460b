"""A session as the model has it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

MESSAGES = 20
"""How many messages are kept: the newest (docs/library.md)."""


class Broken(AssertionError):
    """What the contract promises did not hold."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


class Deleted:
    """Marks a key that the handler has deleted and not saved yet."""

    def __repr__(self) -> str:
        return "deleted"


DELETED = Deleted()


@dataclass(eq=False)
class Stored:
    """A session in the store. `lives`: None while either is right, until the store is looked at.

    `reasons`: why it may have ended. `successors`: what re-authentications made of it; `replaced_by`: what sign-ins did.
    `is_sent`: a client has been given its cookie.
    """

    user: int | None
    data: dict[str, Any]
    flashes: list[str]
    handle: str = ""
    lives: bool | None = True
    reasons: set[str] = field(default_factory=set)
    successors: list[Stored] = field(default_factory=list)
    replaced_by: list[Stored] = field(default_factory=list)
    is_sent: bool = False
    may_have: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)

    def end(self, reason: str) -> None:
        self.lives = False
        self.reasons.add(reason)

    def may_end(self, reason: str) -> None:
        if self.lives:
            self.lives = None
        self.reasons.add(reason)

    def apply(self, changes: dict[str, Any], flashes: list[str]) -> None:
        self.data = overlaid(self.data, changes)
        self.flashes = (self.flashes + flashes)[-MESSAGES:]

    def may_apply(self, changes: dict[str, Any], flashes: list[str]) -> None:
        """Either is right; the store tells which."""
        self.may_have = [(self.data, self.flashes), (overlaid(self.data, changes), (self.flashes + flashes)[-MESSAGES:])]


def overlaid(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = copy.deepcopy({**data, **changes})
    return {key: value for key, value in both.items() if not isinstance(value, Deleted)}
