"""What is kept about a user beside the account, for an export: mailed links that are not used yet, and mails that wait."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from .mail.outbox import mails
from .mail_tokens import compared_email, mail_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..database import Steps
    from .user import User


@dataclass(frozen=True, slots=True)
class KeptLink:
    """A link, without its token. `address`: the one that it proves. Times are milliseconds since the epoch."""

    purpose: str
    address: str
    created_at: int
    expires_at: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeptMail:
    """A mail that waits. `address`: where it goes. `due_at`: when it is tried next. Times are milliseconds since the epoch."""

    kind: str
    address: str
    created_at: int
    due_at: int
    attempts: int
    details: Mapping[str, Any]


class KeptMails:
    """Reads what is kept about a user: by the user's id, and by the address, which strangers may have typed."""

    def __init__(self, database: Steps) -> None:
        self._database = database

    async def links(self, user: User) -> Sequence[KeptLink]:
        """The links of a user, oldest first, also those that have expired and are not deleted yet. Raises `DatabaseUnavailable`."""
        columns = (
            mail_tokens.c.purpose,
            mail_tokens.c.email,
            mail_tokens.c.created_at,
            mail_tokens.c.expires_at,
            mail_tokens.c.details,
        )
        is_theirs = or_(mail_tokens.c.user_id == user.id, compared_email == user.email)
        query = select(*columns).where(is_theirs).order_by(mail_tokens.c.created_at, mail_tokens.c.digest)

        async def step(connection: AsyncConnection) -> list[KeptLink]:
            return [KeptLink(*row[:-1], json.loads(row[-1])) for row in await connection.execute(query)]

        return await self._database.read(step)

    async def waiting(self, user: User) -> Sequence[KeptMail]:
        """The mails that wait for a user, oldest first. Raises `DatabaseUnavailable`."""
        columns = (mails.c.kind, mails.c.address, mails.c.created_at, mails.c.due_at, mails.c.attempts, mails.c.details)
        is_theirs = or_(mails.c.user_id == user.id, func.lower(mails.c.address) == user.email)
        query = select(*columns).where(is_theirs).order_by(mails.c.created_at, mails.c.id)

        async def step(connection: AsyncConnection) -> list[KeptMail]:
            return [KeptMail(*row[:-1], json.loads(row[-1])) for row in await connection.execute(query)]

        return await self._database.read(step)
