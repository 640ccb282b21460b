"""Accounts, registration and mailed links over one database, without sessions and without a sender of mails."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import func, select, text

from stateroom.accounts import Accounts, Proofs, Registration, User
from stateroom.accounts.mail.composing import Composer
from stateroom.accounts.mail.outbox import Outbox, mails
from stateroom.accounts.mail_tokens import MailTokens
from stateroom.sessions.journal.sql import Journal
from stateroom.sessions.model.identity import user_key
from stateroom.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from stateroom.accounts.mail.letter import Letter, WaitingMail
    from stateroom.backend.client import RedisClient
    from stateroom.database import Database, Steps
    from stateroom.sessions.model.rows import InTransaction
    from stateroom.settings import Settings

EMAIL, PASSWORD, ADDRESS = "ada@example.com", "correct horse", "192.0.2.1"
MAIL = {"mail_url": "file:/nowhere", "mail_from": "Stateroom <post@example.com>", "public_url": "https://example.com"}


@dataclass
class PostRoom:
    """Takes waiting mails out of the outbox as the sender does, and keeps the letters."""

    database: Steps
    outbox: Outbox
    composer: Composer

    async def letters(self) -> list[Letter]:
        """Compose and remove all mails that wait."""
        found = []
        while (mail := await self.outbox.claim()) is not None:
            letter = await self.compose(mail)
            await self.outbox.done(mail.id)
            if letter is not None:
                found.append(letter)
        return found

    async def compose(self, mail: WaitingMail) -> Letter | None:
        """One attempt to send a claimed mail. It stays in the outbox."""

        async def step(connection: AsyncConnection) -> Letter | None:
            if not await self.outbox.keep_claim(connection, mail.id):
                return None
            return await self.composer.compose(connection, mail)

        return await self.database.write(step)

    async def kinds(self) -> list[str]:
        """The kinds of the letters that wait, sorted. They are removed."""
        return sorted(letter.kind for letter in await self.letters())

    async def token(self, kind: str) -> str:
        """The token of the only waiting mail of this kind. All mails are removed."""
        [token] = [token_of(letter) for letter in await self.letters() if letter.kind == kind]
        return token

    async def rows(self) -> list[tuple[str, int | None, str, str]]:
        """What waits: kind, user, address, details."""
        columns = (mails.c.kind, mails.c.user_id, mails.c.address, mails.c.details)

        async def step(connection: AsyncConnection) -> list[tuple[str, int | None, str, str]]:
            return [tuple(row) for row in await connection.execute(select(*columns).order_by(mails.c.created_at, mails.c.id))]

        return await self.database.read(step)


def token_of(letter: Letter) -> str:
    """The token in a letter's link."""
    [token] = parse_qs(urlsplit(letter.values["link"]).query)["token"]
    return token


class Domain:
    """What the service makes of accounts, with a fixed deployment and key."""

    def __init__(self, settings: Settings, database: Database, client: RedisClient, key: bytes) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.tokens = MailTokens(database, lambda: ("d" * 32, settings.deployment), lambda: key)
        self.accounts = Accounts(settings, database, client, Metrics(), self.outbox, report_unknown=lambda _: None)
        self.registration = Registration(settings, self.accounts, self.outbox, self.tokens)
        self.proofs = Proofs(settings, self.accounts, self.outbox, self.tokens, client)
        self.post = PostRoom(database, self.outbox, Composer(settings, self.accounts.users, self.tokens))
        self.journal = Journal(database, 10**9)

    async def ada(self, email: str = EMAIL, **values: Any) -> User:
        """An account whose address is verified, unless `values` say something else. No mail waits."""
        values = {"is_proved": not values.get("must_verify"), **values}
        return await self.accounts.users.create(email, "Ada", await self.accounts.passwords.hash(PASSWORD), **values)

    async def read(self, user: User) -> User:
        """The user as stored now."""
        found = await self.accounts.users.by_id(user.id)
        assert found is not None
        return found

    async def end_all(self, user: User, *, seen: int = 0, along: InTransaction | None = None) -> None:
        """End all sessions of a user. `seen`: the greatest generation that the worker knows."""
        await self.journal.raise_generation(user_key(user.id), "revoked", seen=seen, ended_at=0, in_transaction=along)

    async def invite(self, email: str, *groups: str) -> None:
        """Put an invitation into the outbox, as `stateroom users invite` does."""
        await self.outbox.write(
            lambda connection: self.outbox.put(connection, "invitation", address=email, details={"groups": list(groups)})
        )

    async def reset(self, token: str, new: str, *, seen: int = 0) -> User:
        """Reset a password, in the transaction that ends the sessions."""
        user, store = await self.proofs.reset(token, new, ADDRESS)
        await self.end_all(user, seen=seen, along=store)
        return user

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        query = select(func.count()).select_from(text(table))

        async def step(connection: AsyncConnection) -> int:
            return int((await connection.execute(query)).scalar_one())

        return await self.database.read(step)

    async def let_expire(self) -> None:
        """Let the time of every token be over, and the hour in which mails are counted."""

        async def step(connection: AsyncConnection) -> None:
            await connection.execute(text("UPDATE mail_tokens SET expires_at = expires_at - 7 * 86400000"))
            await connection.execute(text("UPDATE mail_counts SET until = until - 3600000"))

        await self.database.write(step)


def new_key() -> bytes:
    return secrets.token_bytes(32)
