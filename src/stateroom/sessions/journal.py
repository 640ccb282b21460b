"""Ends that outlive Redis.

Redis replicates asynchronously: a promoted replica may lack the last deletions. So each end is a row in the user
database until the session would have expired anyway. A row ends one session (user and handle must both match), or,
without a handle, every session of the user whose generation is older than the row's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, and_, delete, insert, or_, select, text

from ..database import metadata

if TYPE_CHECKING:
    from ..database import Database

SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

session_ends = Table(
    "session_ends",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("user_key", String(256), nullable=False),
    Column("handle", String(64), nullable=True),
    Column("generation", BigInteger, nullable=True),
    Column("reason", String(16), nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_session_ends_expires_at", "expires_at"),
    Index("ix_session_ends_user_key_handle", "user_key", "handle"),
    sqlite_autoincrement=True,  # a sequence number is never given twice
)
session_generations = Table(
    "session_generations",
    metadata,
    Column("user_key", String(256), primary_key=True),
    Column("generation", BigInteger, nullable=False),
)
fleet = Table("fleet", metadata, Column("id", String(64), primary_key=True))

_RAISE = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, 1) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = session_generations.generation + 1 RETURNING generation"
)


@dataclass(frozen=True, slots=True)
class EndRow:
    """One session's end. Times are milliseconds since the epoch; the row is needed until `expires_at`."""

    user: str
    handle: str
    reason: str
    ended_at: int
    expires_at: int


class EndsJournal(Protocol):
    """What sessions need of a journal. Each call raises `DatabaseUnavailable`."""

    async def record(self, rows: Sequence[EndRow]) -> None:
        """Commit these ends."""

    async def raise_generation(self, user: str, reason: str, *, ended_at: int, expires_at: int) -> int:
        """Commit the end of every session the user has now; the generation that their next ones have."""

    async def generation(self, user: str) -> int:
        """The user's generation now; 0 if it was never raised."""

    async def reason(self, user: str, handle: str, generation: int) -> str | None:
        """Why this session was ended, or None where no row says so."""

    async def prune(self, now: int) -> int:
        """Drop rows that are no longer needed; how many."""


class Journal:
    """The journal in the user database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[EndRow]) -> None:
        values = [
            {"user_key": r.user, "handle": r.handle, "reason": r.reason, "ended_at": r.ended_at, "expires_at": r.expires_at}
            for r in rows
        ]
        async with self._database.begin() as connection:
            await connection.execute(insert(session_ends), values)

    async def raise_generation(self, user: str, reason: str, *, ended_at: int, expires_at: int) -> int:
        async with self._database.begin() as connection:
            generation = int((await connection.execute(_RAISE, {"user": user})).scalar_one())
            row = {"user_key": user, "generation": generation, "reason": reason, "ended_at": ended_at, "expires_at": expires_at}
            await connection.execute(insert(session_ends).values(row))
        return generation

    async def generation(self, user: str) -> int:
        query = select(session_generations.c.generation).where(session_generations.c.user_key == user)
        async with self._database.connect() as connection:
            return int((await connection.execute(query)).scalar_one_or_none() or 0)

    async def reason(self, user: str, handle: str, generation: int) -> str | None:
        ends = session_ends.c
        ended = or_(ends.handle == handle, and_(ends.handle.is_(None), ends.generation > generation))
        query = select(ends.reason).where(ends.user_key == user, ended).order_by(ends.seq).limit(1)
        async with self._database.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def prune(self, now: int) -> int:
        async with self._database.begin() as connection:
            return (await connection.execute(delete(session_ends).where(session_ends.c.expires_at < now))).rowcount


class NoJournal:
    """With `DATABASE_URL=none`: ends are as durable as Redis is."""

    async def record(self, rows: Sequence[EndRow]) -> None:
        return

    async def raise_generation(self, user: str, reason: str, *, ended_at: int, expires_at: int) -> int:
        return 0

    async def generation(self, user: str) -> int:
        return 0

    async def reason(self, user: str, handle: str, generation: int) -> str | None:
        return None

    async def prune(self, now: int) -> int:
        return 0
