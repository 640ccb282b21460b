"""The table of mails that wait. A mail is written in the transaction of what it tells, and deleted once it is sent.

So a mail exists if and only if its cause was committed, and a process that dies loses none. One worker of the fleet claims a mail
before it sends it. A claim expires, so a mail of a worker that died is sent by another one. It may arrive twice then, with one
Message-ID. All times are by the database's clock.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, bindparam, delete, func, insert, or_, select, update

from ...database import metadata
from ...sessions.journal.database_time import NowMs
from .letter import Kind, WaitingMail
from .pace import PACE, Pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Steps
    from ...sqlite.direct import Step

T = TypeVar("T")

mails = Table(
    "mails",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("user_id", BigInteger, nullable=True, index=True),
    Column("address", String(254), nullable=False),
    Column("details", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("claimed_by", String(32), nullable=True),
    Column("claimed_until", BigInteger, nullable=False),
)
"""`attempts`: counted when a mail is claimed, so that a mail that kills its worker is counted too. Times are in milliseconds."""

CANDIDATES = 8
"""How many mails a worker looks at for one that no other worker claims at the same moment."""

_MAIL = (mails.c.id, mails.c.kind, mails.c.user_id, mails.c.address, mails.c.details, mails.c.attempts)
_IS_FREE = (mails.c.due_at <= NowMs()) & (mails.c.claimed_until <= NowMs()) & mails.c.kind.in_(get_args(Kind))
"""A mail of another kind waits for a worker of a newer release, which knows what to write."""
_DUE = select(mails.c.id).where(_IS_FREE).order_by(mails.c.due_at).limit(CANDIDATES)
_UNLOCKED = select(mails.c.id).where(mails.c.id == bindparam("mail"), _IS_FREE).with_for_update(skip_locked=True)
"""A host that dies in a transaction leaves its rows locked for hours on PostgreSQL. The other mails do not wait for it."""
_CLAIM = (
    update(mails)
    .where(mails.c.id.in_(_UNLOCKED))
    .values(
        claimed_by=bindparam("worker"),
        claimed_until=NowMs() + bindparam("claim_ms", type_=BigInteger()),
        attempts=mails.c.attempts + 1,
    )
    .returning(*_MAIL)
)
_FIGURES = select(func.count(), NowMs() - func.min(mails.c.created_at)).select_from(mails)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many mails wait, and for how long the oldest one has, in seconds."""

    count: int
    oldest_seconds: float


class Outbox:
    """The mails of one deployment, as one worker sees them. Calls without a connection raise `DatabaseUnavailable`."""

    def __init__(self, database: Steps, pace: Pace = PACE) -> None:
        self._database = database
        self._pace = pace
        self._worker = secrets.token_hex(16)
        self._woken = asyncio.Event()

    async def put(
        self,
        connection: AsyncConnection,
        kind: Kind,
        *,
        address: str,
        user_id: int | None = None,
        details: Mapping[str, Any] | None = None,
        mail_id: str | None = None,
    ) -> str:
        """Add a mail in the caller's transaction, and return its id. Call `wake` after the commit.

        `details`: what JSON can express, and no secret. `mail_id`: 32 random hex digits, if the caller needs the id before.
        """
        mail_id = mail_id or secrets.token_hex(16)
        await connection.execute(
            insert(mails).values(
                id=mail_id,
                kind=kind,
                user_id=user_id,
                address=address,
                details=json.dumps(dict(details or {})),
                created_at=NowMs(),
                due_at=NowMs(),
                attempts=0,
                claimed_until=0,
            )
        )
        return mail_id

    async def write(self, step: Step[T]) -> T:
        """Run a step that adds mails, commit it, and wake the sender. `step`: as in `Database.write`."""
        result = await self._database.write(step)
        self.wake()
        return result

    def wake(self) -> None:
        """Let this worker's sender look at once. Without it a mail waits for the next poll of any worker."""
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until `wake` is called, and at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def claim(self) -> WaitingMail | None:
        """Claim the mail that is due for the longest time. None if there is none, or other workers claim all of them."""
        due = await self._database.read(_due)
        return await self._database.write(lambda connection: self._claim(connection, due)) if due else None

    async def keep_claim(self, connection: AsyncConnection, mail_id: str) -> bool:
        """Claim this mail anew, in the caller's transaction. False if another worker has it, or it is sent."""
        ours = (mails.c.id == mail_id) & (mails.c.claimed_by == self._worker)
        renewed = update(mails).where(ours).values(claimed_until=NowMs() + self._claim_ms)
        return bool((await connection.execute(renewed)).rowcount)

    async def done(self, mail_id: str) -> None:
        """Delete a mail that was sent, or must not be sent."""
        await self._database.write(lambda connection: self.delete(connection, mail_id))

    async def delete(self, connection: AsyncConnection, mail_id: str) -> None:
        """Delete a mail in the caller's transaction."""
        await connection.execute(delete(mails).where(mails.c.id == mail_id))

    async def defer(self, mail_id: str, seconds: float) -> bool:
        """Give a claimed mail back, to be tried again after so many seconds. False if it was too old, and is deleted."""
        ours = (mails.c.id == mail_id) & (mails.c.claimed_by == self._worker)
        is_old = mails.c.created_at <= NowMs() - round(self._pace.keep * 1000)
        later = NowMs() + round(seconds * 1000)

        async def step(connection: AsyncConnection) -> bool:
            if (await connection.execute(delete(mails).where(ours, is_old))).rowcount:
                return False
            await connection.execute(update(mails).where(ours).values(due_at=later, claimed_by=None, claimed_until=0))
            return True

        return await self._database.write(step)

    async def waiting(self) -> Waiting:
        """How many mails wait in the deployment, those included that are being sent."""

        async def step(connection: AsyncConnection) -> Waiting:
            count, oldest_ms = (await connection.execute(_FIGURES)).one()
            return Waiting(count, max(0, oldest_ms or 0) / 1000)

        return await self._database.read(step)

    async def of_user(self, user_id: int, *, address: str | None = None) -> Sequence[WaitingMail]:
        """The mails that wait for a user, oldest first. `address`: mails to this address belong to the user too."""

        async def step(connection: AsyncConnection) -> list[WaitingMail]:
            query = select(*_MAIL).where(_belongs(user_id, address)).order_by(mails.c.created_at, mails.c.id)
            return [_waiting_mail(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(step)

    async def delete_of_user(self, connection: AsyncConnection, user_id: int, *, address: str | None = None) -> None:
        """Delete the mails that wait for a user, in the caller's transaction. `address`: as in `of_user`."""
        await connection.execute(delete(mails).where(_belongs(user_id, address)))

    async def _claim(self, connection: AsyncConnection, due: Sequence[str]) -> WaitingMail | None:
        for each in due:
            values = {"mail": each, "worker": self._worker, "claim_ms": self._claim_ms}
            row = (await connection.execute(_CLAIM, values)).mappings().one_or_none()
            if row is not None:
                return _waiting_mail({**row, "attempts": row["attempts"] - 1})
        return None

    @property
    def _claim_ms(self) -> int:
        return round(self._pace.claim * 1000)


async def _due(connection: AsyncConnection) -> Sequence[str]:
    return (await connection.execute(_DUE)).scalars().all()


def _belongs(user_id: int, address: str | None) -> Any:
    is_own = mails.c.user_id == user_id
    return is_own if address is None else or_(is_own, func.lower(mails.c.address) == address.lower())


def _waiting_mail(row: Any) -> WaitingMail:
    kind = cast("Kind", row["kind"])
    return WaitingMail(row["id"], kind, row["user_id"], row["address"], json.loads(row["details"]), row["attempts"])
