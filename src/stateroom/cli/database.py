"""The subcommands that change the user database itself: its tables, its lease, and the Redis that belongs to it."""

from __future__ import annotations

import asyncio
import secrets

from .. import __version__
from ..backend.clients import make_client
from ..database import Database
from ..errors import SettingsError
from ..sessions.journal.sql import Journal
from ..sessions.wiring import wire
from ..settings import Settings
from ..telemetry.logging import configure_logging
from ..telemetry.metrics import Metrics
from .named_stores import NamedStores, check_database_exists
from .service import prepared

MAX_EPOCHS = 10_000


def store_and_database() -> NamedStores:
    """The Redis and the user database of the settings. Raises `SettingsError` if there is no user database."""
    settings = Settings.load()
    if not settings.has_database:
        raise SettingsError("DATABASE_URL is none, but `stateroom db adopt` needs a user database; name one in DATABASE_URL")
    check_database_exists(settings)
    return NamedStores.of(settings)


def upgrade_database() -> None:
    """Upgrade the user database to the current schema, and print its revision."""
    settings = prepared(Settings.load())
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
    settings = prepared(Settings(journal_lease=value))
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


def adopt(*, has_new_identity: bool) -> None:
    """Make the Redis of the settings belong to this user database, and end every session in it.

    `has_new_identity`: first give the user database a new deployment id, which a copied database needs. No worker may run.
    """
    settings = prepared(Settings.load())
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
