"""The subcommands that administer users and sessions, in the Redis and the user database that the settings name."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..accounts import ACCOUNTS, Accounts, User
from ..app import make_app
from ..backend.clients import make_client
from ..database import Database
from ..errors import NotFound, SettingsError
from ..logs import security_event
from ..private import hide_new_files
from ..request.request_session import SESSIONS
from ..sessions.journal.sql import Journal
from ..sessions.wiring import wire
from ..settings import Settings
from ..telemetry.logging import configure_logging
from ..telemetry.metrics import Metrics
from .answer import Answer, columns, ended
from .named_stores import NamedStores, check_database_exists, check_exist

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
    settings = _prepared(Settings.load())
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


def store_and_database() -> NamedStores:
    """The Redis and the user database of the settings. Raises `SettingsError` if there is no user database."""
    settings = Settings.load()
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none, but `stateroom db adopt` needs a user database; name one in DATABASE_URL")
    check_database_exists(settings)
    return NamedStores.of(settings)


def _prepared(settings: Settings) -> Settings:
    """Let only our own user read the files that this command makes in the service's folder, such as SQLite's WAL."""
    hide_new_files()
    return settings


def upgrade_database() -> None:
    """Upgrade the user database to the current schema, and print its revision."""
    settings = _prepared(Settings.load())
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none, so there is no user database to upgrade; name one in DATABASE_URL")
    check_database_exists(settings)

    async def upgrade() -> None:
        database = Database(settings)
        try:
            await database.upgrade()
            print(f"{NamedStores.of(settings).database} has the tables of this release (revision {await database.revision()})")
        finally:
            await database.aclose()

    asyncio.run(upgrade())


def set_lease(value: str) -> None:
    """Change the lease in the user database, which every worker of the deployment must have.

    `value`: the new lease, as in the setting: seconds, or a duration such as `500ms`. Raises `SettingsError`.
    """
    settings = _prepared(Settings(journal_lease=value))
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none, but the lease is stored in a user database; name one in DATABASE_URL")
    check_database_exists(settings)

    async def change() -> None:
        database = Database(settings)
        try:
            await database.prepare()
            await Journal(database, settings.longest_session_ms).set_lease(round(settings.journal_lease * 1000))
            place, lease = NamedStores.of(settings).database, f"{settings.journal_lease:g}"
            print(f"JOURNAL_LEASE is now {lease} s in {place}; start every worker and run every command with JOURNAL_LEASE={lease}")
        finally:
            await database.aclose()

    asyncio.run(change())


async def list_users(service: Service) -> Answer:
    """One line for each user. Raises `DatabaseUnavailable`."""
    users = await service.accounts.users.list()
    rows = [(str(user.id), user.email, user.name, "disabled" if user.is_disabled else "active") for user in users]
    lines = columns(("ID", "EMAIL", "NAME", "STATE"), rows) if rows else ["there are no users"]
    return Answer(lines, {"users": [_user(user) for user in users]})


async def disable_user(service: Service, email: str) -> Answer:
    """Disable an account and end its sessions. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.disable(user)
    security_event("disable", user_id=user.id, count=count)
    line = f"{user.email} is disabled; {ended(count)}"
    return Answer([line], {"user": {**_user(user), "disabled": True}, "sessions_ended": count})


async def enable_user(service: Service, email: str) -> Answer:
    """Enable an account again. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    await service.accounts.users.enable(user.id)
    security_event("enable", user_id=user.id)
    return Answer([f"{user.email} is enabled"], {"user": {**_user(user), "disabled": False}})


async def list_sessions(service: Service, email: str | None) -> Answer:
    """One line for each live session of one user, or of all users.

    Raises `NotFound`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    listed = [(user, each) for user in await service.chosen(email) for each in await service.sessions.list(user.id)]
    rows = [
        (user.email, each.id, f"{each.last_access:%Y-%m-%dT%H:%M:%SZ}", each.ip_address, each.device_type) for user, each in listed
    ]
    none = "there are no live sessions" if email is None else f"{email} has no live sessions"
    lines = columns(("EMAIL", "SESSION", "LAST ACCESS", "IP ADDRESS", "DEVICE"), rows) if rows else [none]
    return Answer(
        lines,
        {
            "sessions": [
                {"user": user.email, "id": each.id, "last_access": each.last_access.isoformat(), "ip_address": each.ip_address,
                 "device_type": each.device_type}
                for user, each in listed
            ]
        },
    )  # fmt: skip


async def revoke_sessions(service: Service, email: str) -> Answer:
    """End the sessions of one user. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.sessions.revoke_all(user.id, reason="revoked")
    security_event("revoke_all", user_id=user.id, count=count)
    return Answer([ended(count)], {"sessions_ended": count})


async def revoke_everybody(service: Service) -> Answer:
    """End every session of the deployment, also those of deleted accounts. Raises `DatabaseUnavailable`."""
    count = await service.sessions.end_everybody()
    security_event("everybody_out", count=count)
    return Answer([ended(count)], {"sessions_ended": count})


def adopt(*, has_new_identity: bool) -> None:
    """Make the Redis of the settings belong to this user database, and end every session in it.

    `has_new_identity`: first give the user database a new deployment id, which a copied database needs. No worker may run.
    """
    settings = _prepared(Settings.load())
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
        stores = NamedStores.of(settings)
        print(f"{stores.store} now belongs to the user database {stores.database}; every session in it has ended")

    asyncio.run(act())


def _user(user: User) -> dict[str, object]:
    return {"id": user.id, "email": user.email, "name": user.name, "disabled": user.is_disabled}


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Service]:
    app = make_app(settings, sends_mail=False)
    app.freeze()
    try:
        await app.startup()  # If a part fails to start, the cleanup below stops the parts before it.
        yield Service(app[ACCOUNTS], app[SESSIONS])
    finally:
        await app.cleanup()
