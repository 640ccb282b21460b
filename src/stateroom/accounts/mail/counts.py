"""Counts the mails that strangers can cause, by kind and recipient: nobody's mailbox is flooded, from however many networks.

Only mails of the last hour are counted. A retry of a mail is not a second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, String, Table, delete, func, insert, select

from ...database import metadata
from ...sessions.journal.database_time import NowMs
from ..throttle import digest
from .over import deletion_of_rows_over

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from .letter import Kind

MOST_AN_HOUR = 10
"""More than one network may ask for (`MAIL_REQUESTS`). The links in the mails that were sent still work."""
_HOUR_MS = 3_600_000

mail_counts = Table(
    "mail_counts",
    metadata,
    Column("mail_id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("ix_mail_counts_recipient", "recipient"),
    Index("ix_mail_counts_until", "until"),
)
"""`recipient`: a hash of the address, as addresses are compared. `until`: the end of its hour, in milliseconds."""

_DELETE_OVER = deletion_of_rows_over(mail_counts, mail_counts.c.until)


async def is_too_many(connection: AsyncConnection, mail_id: str, kind: Kind, email: str) -> bool:
    """Count a mail that is about to be sent, in a transaction of the caller. True if it must not be sent, and was not counted.

    `email`: the recipient, in the form in which addresses are compared.
    """
    recipient = digest(email)
    await connection.execute(_DELETE_OVER)
    if await connection.scalar(select(mail_counts.c.mail_id).where(mail_counts.c.mail_id == mail_id)) is not None:
        return False
    sent = select(func.count()).where(
        mail_counts.c.recipient == recipient, mail_counts.c.kind == kind, mail_counts.c.until > NowMs()
    )
    if (await connection.execute(sent)).scalar_one() >= MOST_AN_HOUR:
        return True
    await connection.execute(insert(mail_counts).values(mail_id=mail_id, kind=kind, recipient=recipient, until=NowMs() + _HOUR_MS))
    return False


async def forget(connection: AsyncConnection, email: str) -> None:
    """Delete the counts of an address, in a transaction of the caller."""
    await connection.execute(delete(mail_counts).where(mail_counts.c.recipient == digest(email)))
