"""Starts the service without a listener, so that a command can act on its accounts and sessions, and prints the result."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from ..accounts import ACCOUNTS, OPERATORS, Accounts, Operators, User
from ..app import make_app
from ..errors import NotFound
from ..private import hide_new_files
from ..request.request_session import SESSIONS
from ..settings import Settings
from ..telemetry.logging import configure_logging
from .named_stores import NamedStores, check_exist

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..sessions.manager import SessionManager
    from .answer import Answer


class Service:
    """The parts of a started service that has no listener."""

    def __init__(self, accounts: Accounts, sessions: SessionManager, operators: Operators) -> None:
        self.accounts = accounts
        self.sessions = sessions
        self.operators = operators

    async def user(self, email: str) -> User:
        """The user with this email. Raises `NotFound`."""
        user = await self.accounts.users.by_email(email)
        if user is None:
            raise NotFound(f"there is no user {email}; find the address with `stateroom users list`")
        return user

    async def chosen(self, email: str | None) -> list[User]:
        """The user with this email, or all users if it is None. Raises `NotFound`."""
        return await self.accounts.users.list() if email is None else [await self.user(email)]

    async def disable(self, user: User) -> int | None:
        """Disable an account and end its sessions in one transaction.

        Returns the number of ended sessions, or None if it is unknown because Redis is unavailable.
        """

        async def disable(connection: AsyncConnection) -> None:
            await self.accounts.users.disable(user.id, within=connection)

        return await self.sessions.revoke_all(user.id, reason="disabled", in_transaction=disable)


def run(action: Callable[[Service], Awaitable[Answer]], *, as_json: bool = False) -> None:
    """Start a service without a listener, run the action, stop the service, and print the action's result.

    Raises `SettingsError` if the settings name a Redis or a user database that does not exist. It creates neither.
    """
    settings = prepared(Settings.load())
    check_exist(settings)
    configure_logging(settings)
    stores = NamedStores.of(settings)
    print(f"stateroom: {stores}", file=sys.stderr)

    async def act() -> Answer:
        async with _connected(settings) as service:
            return await action(service)

    asyncio.run(act()).show(stores, as_json=as_json)


def existing_stores() -> NamedStores:
    """The Redis and the user database of the settings.

    Raises `SettingsError` if the embedded server was never started or the SQLite file does not exist.
    """
    settings = Settings.load()
    check_exist(settings)
    return NamedStores.of(settings)


def prepared(settings: Settings) -> Settings:
    """Let only our own user read the files that this command makes in the service's folder, such as SQLite's WAL."""
    hide_new_files()
    return settings


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Service]:
    app = make_app(settings, sends_mail=False, manages_demo_account=False, has_access_rules=False)
    app.freeze()
    try:
        await app.startup()  # If a part fails to start, the cleanup below stops the parts before it.
        yield Service(app[ACCOUNTS], app[SESSIONS], app[OPERATORS])
    finally:
        await app.cleanup()
