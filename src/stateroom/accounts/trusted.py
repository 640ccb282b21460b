"""Which users' addresses access rules and applications may trust.

Whoever has an account is not yet whoever reads the mails of its address. Access rules that name addresses, `Remote-Email` and
assertions all take the address from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access.model import Person

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..settings import Settings
    from .user import User


def person_of(user: User, groups: Collection[str], settings: Settings) -> Person:
    """The user for access rules and applications. The email is empty if a stranger may have typed it."""
    return Person(user.id, user.email if is_trusted(user, settings) else "", frozenset(groups))


def is_trusted(user: User, settings: Settings) -> bool:
    """Whether the account's address is its user's: it was proved, or it counts as verified where nobody can just type one.

    While everybody can register and nobody is asked for a proof, an account without a proof may be anybody's.
    """
    if user.verified_at is not None:
        return True
    return user.is_verified and (settings.registration != "open" or settings.email_verification != "off")
