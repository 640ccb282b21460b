"""The journal of ends in the user database.

Redis replicates asynchronously: a promoted replica may lack the last deletions. So each end is a row in the user
database until the session would have expired anyway. A row ends one session: user and handle must both match. A row
with a generation ends every older session of the user, and a row with an epoch every session of that epoch. The row of
a rotation names the session's new handle. A user's registration is a row too, which ends nothing: if it is missing, the
database was restored from a backup that is older than the user (tail.py).

A row is kept until the longest lifetime that the settings allow has passed, by the database's own clock. Nothing but
`prune` looks at that time.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    and_,
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from ...database import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS, metadata
from ...errors import DatabaseUnavailable
from ..model.deployment import Current, DeploymentRow
from ..model.identity import NUMBER, SessionRef
from ..model.rows import REGISTERED, TO_THE_LAST, EndRow, InTransaction, Row
from .interface import EpochChange, LookedUp, Reading
from .tail import GAP_SECONDS

if TYPE_CHECKING:
    from sqlalchemy import Insert, Select
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
    Column("nonce", String(32), nullable=True),
    Column("epoch", String(32), nullable=True),
    Index("uq_session_ends_nonce", "nonce", unique=True),
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
fleet = Table(
    "fleet",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("lease_ms", BigInteger, nullable=True),
    Column("singleton", Integer, nullable=True),
    Column("name", String(200), nullable=True),
    Column("epoch", String(32), nullable=False, server_default=""),
    Column("restored", String(32), nullable=True),
    Index("uq_fleet_singleton", "singleton", unique=True),
)
"""The deployment: one row, in which `singleton` is 1. `stateroom db upgrade` makes it, and nothing at run time."""

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
_AT_LEAST = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation END"
)
_EPOCH = select(fleet.c.epoch).where(fleet.c.singleton == 1)
_DEPLOYMENT = select(fleet.c.id, fleet.c.name, fleet.c.lease_ms, fleet.c.epoch, fleet.c.restored).where(fleet.c.singleton == 1)
_IN_RECOVERY = select(func.pg_is_in_recovery())


class NowMs(GenericFunction[int]):
    """The database's time, milliseconds since the epoch."""

    inherit_cache = True
    type = BigInteger()


@compiles(NowMs, "sqlite")
def _sqlite_now(*_: object, **__: object) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"  # https://www.sqlite.org/lang_datefunc.html


@compiles(NowMs, "postgresql")
def _postgres_now(*_: object, **__: object) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


class Journal:
    """See `EndsJournal`, whose calls these are. `longest_ms`: the longest lifetime that the settings allow a session."""

    has_journal = True

    def __init__(self, database: Database, longest_ms: int) -> None:
        self._database = database
        self._longest_ms = longest_ms

    async def record(self, rows: Sequence[EndRow]) -> None:
        async with self._database.begin() as connection:
            for row in rows:
                await connection.execute(insert(session_ends).values(self._values(row)))

    async def raise_generation(
        self, user: str, reason: str, *, seen: int = 0, ended_at: int, in_transaction: InTransaction | None = None
    ) -> int:
        async with self._database.begin() as connection:
            generation = await self._raise(connection, user, reason, seen=seen, ended_at=ended_at)
            if in_transaction is not None:
                await in_transaction(connection)
            return generation

    async def rotate(
        self, rotation: EndRow, current: Current, *, revokes: str | None, in_transaction: InTransaction | None = None
    ) -> bool:
        ends = session_ends.c
        ended = select(ends.seq).where(ends.user_key == rotation.user, ends.handle == rotation.handle).limit(1)
        async with self._database.connect() as connection, connection.begin() as transaction:
            # Of two that come at once the second waits here, for the row of the user's generation.
            generation = int((await connection.execute(_HOLD, {"user": rotation.user})).scalar_one())
            epoch = (await connection.execute(_EPOCH)).scalar_one_or_none()
            is_over = generation > current.generation or epoch != current.epoch
            if is_over or (await connection.execute(ended)).scalar_one_or_none() is not None:
                await transaction.rollback()
                return False
            if revokes is not None:
                await self._raise(connection, rotation.user, revokes, seen=current.generation, ended_at=rotation.ended_at)
            await connection.execute(insert(session_ends).values(self._values(rotation)))
            if in_transaction is not None:
                await in_transaction(connection)
            return True

    async def current(self, user: str) -> Current:
        known = select(session_generations.c.generation).where(session_generations.c.user_key == user).scalar_subquery()
        async with self._database.connect() as connection:
            generation, epoch = (await connection.execute(select(func.coalesce(known, 0), _EPOCH.scalar_subquery()))).one()
        return Current(int(generation), epoch or "")

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        async with self._database.begin() as connection:
            await connection.execute(_HOLD, {"user": ""})  # two at once take turns
            before = str((await connection.execute(_EPOCH)).scalar_one())
            after = secrets.token_hex(8)
            row = {"user_key": "", "reason": reason, "ended_at": ended_at, "epoch": before, "successor": after}
            await connection.execute(insert(session_ends).values(row | self._stamp(expires_at=TO_THE_LAST)))
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(epoch=after))
        return EpochChange(before, after)

    async def recommit(self, rows: Sequence[Row]) -> int:
        count = 0
        async with self._database.begin() as connection:
            await connection.execute(_HOLD, {"user": ""})  # workers that find it out together take turns
            for row in rows:
                if row.reason != REGISTERED and await connection.scalar(_same_as(row)) is None:
                    count += 1
                    await self._commit_again(connection, row)
            word = func.coalesce(fleet.c.restored, secrets.token_hex(8))
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(restored=word))
        return count

    async def reason(self, ref: SessionRef, generation: int) -> str | None:
        ends = session_ends.c
        ended = or_(ends.handle == ref.handle, and_(ends.handle.is_(None), ends.generation > generation))
        query = select(ends.reason).where(ends.user_key == ref.user, ended).order_by(ends.seq).limit(1)
        async with self._database.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def newest(self, limit: int) -> list[Row]:
        async with self._database.connect() as connection:
            found = await connection.execute(select(session_ends).order_by(session_ends.c.seq.desc()).limit(limit))
            return [Row(*each) for each in reversed(found.all())]

    async def raised(self, after: int, limit: int) -> list[Row]:
        ends = session_ends.c
        wanted = and_(ends.handle.is_(None), ends.seq > after, or_(ends.generation.is_not(None), ends.epoch.is_not(None)))
        async with self._database.connect() as connection:
            found = await connection.execute(select(session_ends).where(wanted).order_by(ends.seq).limit(limit))
            return [Row(*each) for each in found]

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        seq = session_ends.c.seq
        wanted = or_(seq > after, seq.in_(sorted(gaps))) if gaps else seq > after
        nonces: dict[int, str | None] = {}
        async with self._database.connect() as connection:
            found = await connection.execute(select(session_ends).where(wanted).order_by(seq).limit(limit))
            rows = [Row(*each) for each in found]
            if checked:
                query = select(seq, session_ends.c.nonce).where(seq.in_(sorted(checked)))
                nonces = {each.seq: each.nonce for each in await connection.execute(query)}
            return Reading(rows, nonces, await _deployment(connection))

    async def look_up(self, refs: Sequence[SessionRef]) -> LookedUp:
        ends, generations = session_ends.c, session_generations.c
        by_session = select(session_ends).where(tuple_(ends.user_key, ends.handle).in_(refs)).order_by(ends.seq)
        by_user = select(session_generations).where(generations.user_key.in_({ref.user for ref in refs}))
        async with self._database.connect() as connection:
            rows = [Row(*each) for each in await connection.execute(by_session)]
            known = {user: int(generation) for user, generation in await connection.execute(by_user)}
            return LookedUp(rows, known, await _deployment(connection))

    async def of_user(self, user: str) -> list[Row]:
        query = select(session_ends).where(session_ends.c.user_key == user).order_by(session_ends.c.seq)
        async with self._database.connect() as connection:
            return [Row(*each) for each in await connection.execute(query)]

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        values = {"lease_ms": func.coalesce(fleet.c.lease_ms, lease_ms), "name": func.coalesce(fleet.c.name, name)}
        async with self._database.begin() as connection:
            known = await _deployment(connection)
            if known is not None and None in {known.lease_ms, known.name}:
                await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(values))
                known = await _deployment(connection)
            return known

    async def set_lease(self, lease_ms: int) -> None:
        """Change the deployment's lease. No worker may be running."""
        async with self._database.begin() as connection:
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(lease_ms=lease_ms))

    async def set_identity(self, deployment_id: str, name: str) -> None:
        """Make this database another deployment's. No worker may be running."""
        async with self._database.begin() as connection:
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(id=deployment_id, name=name))

    async def set_restored(self, *, seen: str) -> None:
        query = update(fleet).where(fleet.c.singleton == 1, fleet.c.restored == seen).values(restored=None)
        async with self._database.begin() as connection:
            await connection.execute(query)

    async def known_deployment(self) -> DeploymentRow | None:
        """The deployment's row as it is."""
        async with self._database.connect() as connection:
            return await _deployment(connection)

    async def prune(self, due_at: int, limit: int) -> int:
        ends = session_ends.c
        newest = select(func.max(ends.seq)).scalar_subquery()
        due = select(ends.seq).where(ends.expires_at < due_at, ends.seq < newest).limit(limit).scalar_subquery()
        async with self._database.begin() as connection:
            return (await connection.execute(delete(session_ends).where(ends.seq.in_(due)))).rowcount

    async def now_ms(self) -> int:
        async with self._database.connect() as connection:
            return int((await connection.execute(select(NowMs()))).scalar_one())

    def _values(self, row: EndRow) -> dict[str, object]:
        values = {
            "user_key": row.user, "handle": row.handle, "reason": row.reason, "ended_at": row.ended_at,
            "successor": row.successor,
        }  # fmt: skip
        return values | self._stamp()

    def _stamp(self, **given: object) -> dict[str, object]:
        return {"expires_at": NowMs() + self._longest_ms, "nonce": secrets.token_hex(8)} | given

    async def _raise(self, connection: AsyncConnection, user: str, reason: str, *, seen: int, ended_at: int) -> int:
        generation = int((await connection.execute(_RAISE, {"user": user, "least": seen + 1})).scalar_one())
        row = {"user_key": user, "generation": generation, "reason": reason, "ended_at": ended_at}
        await connection.execute(insert(session_ends).values(row | self._stamp()))
        return generation

    async def _commit_again(self, connection: AsyncConnection, row: Row) -> None:
        values = row._asdict()
        del values["seq"]
        values["user_key"] = values.pop("user")
        await connection.execute(insert(session_ends).values(values))
        if row.generation is not None:
            await connection.execute(_AT_LEAST, {"user": row.user, "least": row.generation})
        if row.epoch is not None:
            behind = and_(fleet.c.singleton == 1, fleet.c.epoch == row.epoch)
            await connection.execute(update(fleet).where(behind).values(epoch=row.successor))


def registration(user: str, *, longest_ms: int, registered_at: int) -> Insert:
    """The row of a user's registration, for the transaction that inserts the user."""
    return insert(session_ends).values(
        user_key=user, reason=REGISTERED, ended_at=registered_at, expires_at=NowMs() + longest_ms, nonce=secrets.token_hex(8)
    )


def generation_of(user_id: ColumnElement[int]) -> ColumnElement[int]:
    """The generation of the user whose number is in this column of another table, for a query that reads both at once."""
    key = literal(NUMBER) + cast(user_id, String)
    known = select(session_generations.c.generation).where(session_generations.c.user_key == key).scalar_subquery()
    return func.coalesce(known, 0)


def current_epoch() -> ColumnElement[str]:
    """The deployment's epoch, for a query that reads a user at once."""
    return func.coalesce(_EPOCH.scalar_subquery(), "")


async def _deployment(connection: AsyncConnection) -> DeploymentRow | None:
    """Whose journal this is. Raises as `check_primary`."""
    row = (await connection.execute(_DEPLOYMENT)).one_or_none()
    await check_primary(connection)
    return None if row is None else DeploymentRow(*row)


async def check_primary(connection: AsyncConnection) -> None:
    """Raises `DatabaseUnavailable` for a standby of PostgreSQL: it may lack what was committed before."""
    if connection.dialect.name == "postgresql" and (await connection.execute(_IN_RECOVERY)).scalar_one():
        raise DatabaseUnavailable("the user database is a standby, which does not have the last commits")


def _same_as(row: Row) -> Select[tuple[int]]:
    """The number of this row, or of one that does the same."""
    ends = session_ends.c
    if row.epoch is not None:
        does_same = ends.epoch == row.epoch
    elif row.handle is not None:
        does_same = and_(ends.user_key == row.user, ends.handle == row.handle)
    else:
        does_same = and_(ends.user_key == row.user, ends.handle.is_(None), ends.generation >= (row.generation or 0))
    return select(ends.seq).where(does_same).limit(1)
