"""What the rules are asked, and what they answer. No input or output."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..chosen import normal_email


class Asked(msgspec.Struct, frozen=True):  # made and hashed in C: there are two for each request
    """A request to an application, as the proxy tells it.

    `origin`: `scheme://host[:port]` as browsers write it. `path`: path and query as the client sent them, not decoded.
    `address`: the client's address, None if it is unknown. A value that the proxy did not tell is empty.
    """

    method: str
    origin: str
    path: str
    address: str | None


class Person(msgspec.Struct, frozen=True):  # hashed in C, at each request
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


NO_NEED = Need()


@dataclass(frozen=True, slots=True)
class Allow:
    """Whom a rule admits. `anyone`: also without a sign-in. `signed_in`: every signed-in user.

    Otherwise a user is admitted who is in one of `groups`, or whose verified address is one of `addresses` or in one of `domains`.
    Addresses and domains are in the form in which accounts compare addresses.
    """

    anyone: bool = False
    signed_in: bool = False
    groups: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    @property
    def is_nobody(self) -> bool:
        """Whether nobody is admitted, whoever asks."""
        return not (self.anyone or self.signed_in or self.groups or self.addresses or self.domains)

    def admits(self, person: Person) -> bool:
        """Whether this signed-in user is admitted."""
        if self.anyone or self.signed_in or not self.groups.isdisjoint(person.groups):
            return True
        email = normal_email(person.email)
        return bool(email) and (email in self.addresses or email.rpartition("@")[2] in self.domains)


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer of the rules to one request: whom they admit, and under which conditions.

    `audience`: whom an assertion for this application is meant for: the origin, or the rule's name if several applications share
    the host. `need`: what the sign-in itself must be like.
    """

    allow: Allow
    audience: str
    need: Need = NO_NEED

    @property
    def is_open(self) -> bool:
        """Whether everybody is admitted, also without a sign-in."""
        return self.allow.anyone

    def admits(self, person: Person) -> bool:
        """Whether this signed-in user is admitted, provided that the sign-in meets `need`."""
        return self.allow.admits(person)
