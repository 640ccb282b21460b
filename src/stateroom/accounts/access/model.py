"""What the rules are asked, and what they answer. No input or output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an application, as the proxy tells it.

    `origin`: `scheme://host[:port]` as browsers write it. `path`: path and query as the client sent them, not decoded. `address`:
    the client's address, None if it is unknown. A value that the proxy did not tell is empty.
    """

    method: str
    origin: str
    path: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user. `email` is empty unless the account's address is verified."""

    user_id: int | str
    email: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Need:
    """What a rule asks of the sign-in itself. `fresh_seconds`: its highest age; None if any age is enough."""

    fresh_seconds: float | None = None
    second_factor: bool = False
    device_bound: bool = False
