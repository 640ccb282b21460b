"""The demo user of the embedded mode. Its password is public, so it exists only for the machine that it runs on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..errors import Conflict
from .passwords import LOCKED

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..sessions.model.rows import InTransaction
    from .passwords import Passwords
    from .user import User
    from .users import Users

DEMO_ID = 1
DEMO_EMAIL, DEMO_PASSWORD, DEMO_NAME = "demo@example.com", "password123", "Demo"


class DemoUser:
    """Makes, unlocks and locks the demo user. Each call raises `DatabaseUnavailable` and `Saturated`."""

    def __init__(self, users: Users, passwords: Passwords) -> None:
        self._users = users
        self._passwords = passwords

    async def ensure(self) -> None:
        """Create the demo user if no user has its email or its id, or unlock it.

        Its address counts as proved. In databases of earlier releases it does not yet.
        """
        user = await self._users.by_email(DEMO_EMAIL)
        if user is not None and user.id == DEMO_ID and user.verified_at is None:
            await self._users.verify(user.id, user.email)
        if user is not None and user.password_hash == LOCKED:
            await self._users.set_password_hash(user.id, await self._passwords.hash(DEMO_PASSWORD), seen=LOCKED)
        elif user is None and await self._users.by_id(DEMO_ID) is None:
            with contextlib.suppress(Conflict):  # another worker has made it
                demo_hash = await self._passwords.hash(DEMO_PASSWORD)
                await self._users.create(DEMO_EMAIL, DEMO_NAME, demo_hash, user_id=DEMO_ID, is_proved=True)

    async def to_lock(self) -> tuple[User, InTransaction] | None:
        """The demo account, and a function that locks it; None if there is no such account, or if it is locked already.

        The email alone does not identify it: its owner may have changed the password. Its id does not either, because an
        earlier release gave any id. If an account has this email and the published password, anybody can sign in
        to it, whoever created it. The function is called in the transaction that ends the sessions; it raises `Conflict` if the
        password has changed.
        """
        user = await self._users.by_email(DEMO_EMAIL)
        if user is None or user.password_hash == LOCKED or not await self._passwords.verify(DEMO_PASSWORD, user.password_hash):
            return None

        async def lock(connection: AsyncConnection) -> None:
            if not await self._users.set_password_hash(user.id, LOCKED, seen=user.password_hash, within=connection):
                raise Conflict("another process changed the demo account")

        return user, lock


def is_published(user: User, password: str) -> bool:
    """Whether these are the demo user's published credentials."""
    return user.email == DEMO_EMAIL and password == DEMO_PASSWORD
