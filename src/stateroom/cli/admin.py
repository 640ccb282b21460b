"""The subcommands that administer users and sessions, in the stores that the settings name."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..accounts import ACCOUNTS, Accounts, User
from ..app import make_app
from ..backend.clients import make_client
from ..database import Database
from ..errors import NotFound, SettingsError
from ..request.request_session import SESSIONS
from ..sessions.journal.sql import Journal
from ..sessions.wiring import wire
from ..settings import Settings
from ..telemetry.logging import configure_logging, security_event
from ..telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..sessions.manager import SessionManager


MAX_EPOCHS = 10_000


class Service:
    """The parts of a started service that has no listener."""

    def __init__(self, accounts: Accounts, sessions: SessionManager) -> None:
        self.accounts = accounts
        self.sessions = sessions

    async def user(self, email: str) -> User:
        """The user with this email. Raises `NotFound`."""
        user = await self.accounts.users.by_email(email)
        if user is None:
            raise NotFound(f"there is no user {email}; `stateroom users list` shows all")
        return user

    async def chosen(self, email: str | None) -> list[User]:
        """The user with this email, or all users if it is None. Raises `NotFound`."""
        return await self.accounts.users.list() if email is None else [await self.user(email)]

    async def disable(self, user: User) -> int | None:
        """Disable an account and end its sessions in one transaction. How many there were; None if Redis is unavailable."""

        async def disable(connection: AsyncConnection) -> None:
            await self.accounts.users.disable(user.id, within=connection)

        return await self.sessions.revoke_all(user.id, reason="disabled", in_transaction=disable)


def run(action: Callable[[Service], Awaitable[None]]) -> None:
    """Start a service without a listener, run the action, and stop the service."""
    settings = Settings.load()
    configure_logging(settings)

    async def act() -> None:
        async with _connected(settings) as service:
            await action(service)

    asyncio.run(act())


def upgrade_database() -> None:
    """Upgrade the user database to the current schema, and print its revision."""
    settings = Settings.load()
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none: there is no database to upgrade; name one")

    async def upgrade() -> None:
        database = Database(settings)
        try:
            await database.upgrade()
            print(f"the schema is at {await database.revision()}")
        finally:
            await database.aclose()

    asyncio.run(upgrade())


def set_lease(seconds: float) -> None:
    """Change the lease that the journal keeps for the whole deployment, in seconds."""
    settings = Settings(journal_lease=seconds)
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none: there is no database that keeps a lease; name one")

    async def change() -> None:
        database = Database(settings)
        try:
            await database.prepare()
            await Journal(database, settings.longest_session_ms).set_lease(round(settings.journal_lease * 1000))
            print(f"the lease is {settings.journal_lease:g} s; start every worker with JOURNAL_LEASE={settings.journal_lease:g}")
        finally:
            await database.aclose()

    asyncio.run(change())


async def list_users(service: Service) -> None:
    """Print one line per user. Raises `DatabaseUnavailable`."""
    for user in await service.accounts.users.list():
        print(f"{user.id}\t{user.email}\t{user.name}\t{'disabled' if user.is_disabled else 'active'}")


async def disable_user(service: Service, email: str) -> None:
    """Disable an account and end its sessions. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.disable(user)
    security_event("disable", user_id=user.id, count=count)
    print(f"{user.email} is disabled; {'all' if count is None else count} sessions ended")


async def enable_user(service: Service, email: str) -> None:
    """Enable an account again. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    await service.accounts.users.enable(user.id)
    security_event("enable", user_id=user.id)
    print(f"{user.email} is enabled")


async def list_sessions(service: Service, email: str | None) -> None:
    """Print one line per live session of one user, or of all. Raises `NotFound`, `StoreUnavailable`, `DatabaseUnavailable`."""
    for user in await service.chosen(email):
        for each in await service.sessions.list(user.id):
            print(f"{user.email}\t{each.id}\t{each.last_access:%Y-%m-%dT%H:%M:%SZ}\t{each.ip_address}\t{each.device_type}")


async def revoke_sessions(service: Service, email: str) -> None:
    """End the sessions of one user. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.sessions.revoke_all(user.id, reason="revoked")
    security_event("revoke_all", user_id=user.id, count=count)
    print(_ended(count))


async def revoke_everybody(service: Service) -> None:
    """End every session of the deployment, whoever's, also those of accounts that are gone. Raises `DatabaseUnavailable`."""
    count = await service.sessions.end_everybody()
    security_event("everybody_out", count=count)
    print(_ended(count))


def _ended(count: int | None) -> str:
    if count is None:
        return "sessions ended; their number is unknown, because Redis is unavailable"
    return f"{count} sessions ended"


def adopt(*, has_new_identity: bool) -> None:
    """Make the Redis of the settings this user database's own, and end every session in it.

    `has_new_identity`: first make the database another deployment, as a copy of a database must be. No worker may be running.
    """
    settings = Settings.load()
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none: there is no database that could adopt a store; name one")
    configure_logging(settings)

    async def act() -> None:
        database = Database(settings)
        journal = Journal(database, settings.longest_session_ms)
        client = make_client(settings, None, metrics=Metrics(__version__))
        parts = wire(settings, client=client, metrics=Metrics(__version__), journal=journal)
        try:
            await database.prepare()
            if has_new_identity:
                await journal.set_identity(secrets.token_hex(16), settings.deployment)
            await parts.membership.ask_database()
            await client.start()
            await parts.membership.claim()
            await parts.ends.everybody()
            for epoch in [row.epoch for row in await journal.raised(0, MAX_EPOCHS) if row.epoch is not None]:
                async for _ in parts.store.delete_epoch(epoch):
                    pass
        finally:
            await client.aclose()
            await database.aclose()
        print(f"{database.place} and its Redis are one deployment now; every session that was there has ended")

    asyncio.run(act())


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Service]:
    app = make_app(settings)
    app.freeze()
    try:
        await app.startup()  # If a part fails to start, the cleanup below stops the parts before it.
        yield Service(app[ACCOUNTS], app[SESSIONS])
    finally:
        await app.cleanup()
