"""The journal of ends in the user database.

Redis replicates asynchronously: a promoted replica may lack the last deletions. So each end is a row in the user
database until the session would have expired anyway. A row ends one session: user and handle must both match. A row
without a handle ends every session of the user whose generation is older than the row's. The row of a rotation
names the session's new handle.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)

from ...database import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS, metadata
from ..model.identity import NUMBER, SessionRef
from ..model.rows import EndRow, InTransaction, Row
from .tail import GAP_SECONDS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Database

assert GAP_SECONDS > CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS, "tails would stop looking for rows that still come"

ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")

session_ends = Table(
    "session_ends",
    metadata,
    Column("seq", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("user_key", String(256), nullable=False),
    Column("handle", String(64), nullable=True),
    Column("generation", BigInteger, nullable=True),
    Column("reason", String(16), nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("successor", String(64), nullable=True),
    Index("ix_session_ends_expires_at", "expires_at"),
    Index("ix_session_ends_user_key_handle", "user_key", "handle"),
    Index("ix_session_ends_raised", "seq", postgresql_where=text("handle IS NULL"), sqlite_where=text("handle IS NULL")),
    sqlite_autoincrement=True,  # a sequence number is never given twice
)
session_generations = Table(
    "session_generations",
    metadata,
    Column("user_key", String(256), primary_key=True),
    Column("generation", BigInteger, nullable=False),
)
fleet = Table("fleet", metadata, Column("id", String(64), primary_key=True), Column("lease_ms", BigInteger, nullable=True))
"""The deployment: its id and its lease. Hosts that start at once may each insert a row; the least id is everybody's."""

_RECORD = insert(session_ends)
_GENERATION = select(session_generations.c.generation).where(session_generations.c.user_key == bindparam("user"))
_HOLD = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, 0) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = session_generations.generation RETURNING generation"
)
"""Read the generation, and let nobody else change it before the transaction ends."""
_RAISE = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation + 1 END RETURNING generation"
)
"""Make it one higher, and at least `least`: a restored database may have forgotten some."""


class _HasEnded(Exception):
    """The session has ended."""


class Journal:
    """See `EndsJournal`, whose calls these are."""

    has_journal = True

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[EndRow]) -> None:
        async def step(connection: AsyncConnection) -> None:
            await connection.execute(_RECORD, [_values(row) for row in rows])

        await self._database.write(step)

    async def raise_generation(
        self,
        user: str,
        reason: str,
        *,
        seen: int = 0,
        ended_at: int,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> int:
        async def step(connection: AsyncConnection) -> int:
            generation = await _raise(connection, user, reason, seen=seen, ended_at=ended_at, expires_at=expires_at)
            if in_transaction is not None:
                await in_transaction(connection)
            return generation

        return await self._database.write(step)

    async def rotate(
        self,
        rotation: EndRow,
        generation: int,
        *,
        revokes: str | None,
        expires_at: int,
        in_transaction: InTransaction | None = None,
    ) -> bool:
        ends = session_ends.c
        ended = select(ends.seq).where(ends.user_key == rotation.user, ends.handle == rotation.handle).limit(1)

        async def step(connection: AsyncConnection) -> None:
            # Of two that come at once the second waits here, for the row of the user's generation.
            now = int((await connection.execute(_HOLD, {"user": rotation.user})).scalar_one())
            if now > generation or (await connection.execute(ended)).scalar_one_or_none() is not None:
                raise _HasEnded
            if revokes is not None:
                await _raise(connection, rotation.user, revokes, seen=generation, ended_at=rotation.ended_at, expires_at=expires_at)
            await connection.execute(insert(session_ends), [_values(rotation)])
            if in_transaction is not None:
                await in_transaction(connection)

        try:
            await self._database.write(step)
        except _HasEnded:
            return False
        return True

    async def generation(self, user: str) -> int:

        async def step(connection: AsyncConnection) -> int:
            return int((await connection.execute(_GENERATION, {"user": user})).scalar_one_or_none() or 0)

        return await self._database.read(step)

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        ends = session_ends.c
        ended = or_(ends.handle == ref.handle, and_(ends.handle.is_(None), ends.generation > generation))
        query = select(ends.reason).where(ends.user_key == ref.user, ended).order_by(ends.seq).limit(1)

        async def step(connection: AsyncConnection) -> str | None:
            return (await connection.execute(query)).scalar_one_or_none()

        return await self._database.read(step)

    async def newest(self, limit: int) -> list[Row]:
        return (await self._rows(select(session_ends).order_by(session_ends.c.seq.desc()).limit(limit)))[::-1]

    async def raised(self, after: int, limit: int, *, needed_at: int) -> list[Row]:
        ends = session_ends.c
        wanted = and_(ends.handle.is_(None), ends.seq > after, ends.expires_at > needed_at)
        return await self._rows(select(session_ends).where(wanted).order_by(ends.seq).limit(limit))

    async def read(self, after: int, gaps: Collection[int], limit: int) -> list[Row]:
        seq = session_ends.c.seq
        wanted = or_(seq > after, seq.in_(sorted(gaps))) if gaps else seq > after
        return await self._rows(select(session_ends).where(wanted).order_by(seq).limit(limit))

    async def look_up(self, refs: Sequence[SessionRef]) -> tuple[list[Row], dict[str, int]]:
        ends, generations = session_ends.c, session_generations.c
        by_session = select(session_ends).where(tuple_(ends.user_key, ends.handle).in_(refs)).order_by(ends.seq)
        by_user = select(session_generations).where(generations.user_key.in_({ref.user for ref in refs}))

        async def step(connection: AsyncConnection) -> tuple[list[Row], dict[str, int]]:
            rows = [Row(*each) for each in await connection.execute(by_session)]
            return rows, {user: int(generation) for user, generation in await connection.execute(by_user)}

        return await self._database.read(step)

    async def of_user(self, user: str) -> list[Row]:
        return await self._rows(select(session_ends).where(session_ends.c.user_key == user).order_by(session_ends.c.seq))

    async def fleet_id(self) -> str:
        async def step(connection: AsyncConnection) -> None:
            await connection.execute(insert(fleet).values(id=secrets.token_hex(16)))

        known = await self.known_fleet_id()
        if known is None:
            await self._database.write(step)
            known = await self.known_fleet_id()  # several hosts may have made one at once
        return str(known)

    async def agree_on_lease(self, lease_ms: int) -> int:
        own = fleet.c.id == await self.fleet_id()

        async def step(connection: AsyncConnection) -> int:
            await connection.execute(update(fleet).where(own, fleet.c.lease_ms.is_(None)).values(lease_ms=lease_ms))
            return int((await connection.execute(select(fleet.c.lease_ms).where(own))).scalar_one())

        return await self._database.write(step)

    async def set_lease(self, lease_ms: int) -> None:
        """Change the deployment's lease. No worker may be running."""
        own = fleet.c.id == await self.fleet_id()

        async def step(connection: AsyncConnection) -> None:
            await connection.execute(update(fleet).where(own).values(lease_ms=lease_ms))

        await self._database.write(step)

    async def known_fleet_id(self) -> str | None:
        """The fleet's id if there is one yet; this call makes none."""

        async def step(connection: AsyncConnection) -> str | None:
            known: str | None = (await connection.execute(select(func.min(fleet.c.id)))).scalar_one()
            return known

        return await self._database.read(step)

    async def prune(self, now: int, limit: int) -> int:
        ends = session_ends.c
        due = select(ends.seq).where(ends.expires_at < now).limit(limit).scalar_subquery()

        async def step(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(session_ends).where(ends.seq.in_(due)))).rowcount

        return await self._database.write(step)

    async def _rows(self, query: Select[Any]) -> list[Row]:
        async def step(connection: AsyncConnection) -> list[Row]:
            return [Row(*each) for each in await connection.execute(query)]

        return await self._database.read(step)


def generation_of(user_id: ColumnElement[int]) -> ColumnElement[int]:
    """The generation of the user whose number is in this column of another table, for a query that reads both at once."""
    key = literal(NUMBER) + cast(user_id, String)
    known = select(session_generations.c.generation).where(session_generations.c.user_key == key).scalar_subquery()
    return func.coalesce(known, 0)


def _values(row: EndRow) -> dict[str, object]:
    return {
        "user_key": row.user, "handle": row.handle, "reason": row.reason, "ended_at": row.ended_at,
        "expires_at": row.expires_at, "successor": row.successor,
    }  # fmt: skip


async def _raise(connection: AsyncConnection, user: str, reason: str, *, seen: int, ended_at: int, expires_at: int) -> int:
    generation = int((await connection.execute(_RAISE, {"user": user, "least": seen + 1})).scalar_one())
    row = {"user_key": user, "generation": generation, "reason": reason, "ended_at": ended_at, "expires_at": expires_at}
    await connection.execute(insert(session_ends).values(row))
    return generation
