"""The journal of ends in the user database.

Redis replicates asynchronously: a promoted replica may lack the last deletions. So each end is a row in the user
database until the session would have expired anyway. A row ends one session: user and handle must both match. A row
with a generation ends every older session of the user, and a row with an epoch every session of that epoch. The row of
a rotation names the session's new handle. A user's registration is a row too, which ends nothing: if it is missing, the
database was restored from a backup that is older than the user (tail.py).

A row is kept for the longest lifetime that the settings allow. The time counts from the database's clock, or from Redis'
clock if that was ahead, because sealed values go by Redis' clock. If Redis' clock was set back, it counts from the latest
time that values were sealed with. Only `prune` uses that time. It notes how old a sealed value may be whose end is pruned.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    String,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from ...database import LONGEST_CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS
from ...errors import DatabaseUnavailable
from ..model.deployment import Current, DeploymentRow, SentinelRow
from ..model.identity import NUMBER, SessionRef
from ..model.rows import CLOCK, REGISTERED, TO_THE_LAST, EndRow, InTransaction, Row
from .database_time import NowMs
from .generations import AT_LEAST, HOLD, RAISE
from .interface import EpochChange, LookedUp, Reading, Successors
from .own_database import OWNER, check_owner
from .read_numbers import GAP_SECONDS
from .successors import SUCCESSORS
from .tables import fleet, session_ends, session_generations

if TYPE_CHECKING:
    from sqlalchemy import Select, Update, UpdateBase
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Database
    from ...sqlite.direct import Step
    from ..model.deployment import Deployment

assert GAP_SECONDS > LONGEST_CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS, (
    "tails would stop looking for rows that still come"
)

_EPOCH = select(fleet.c.epoch).where(fleet.c.singleton == 1)
_SENTINELS = (fleet.c.sentinel_base, fleet.c.sentinel_epoch, fleet.c.sentinel_primary)
_DEPLOYMENT = select(fleet.c.id, fleet.c.name, fleet.c.lease_ms, fleet.c.epoch, fleet.c.restored, *_SENTINELS).where(
    fleet.c.singleton == 1
)
_IN_RECOVERY = select(func.pg_is_in_recovery())
_GENERATION = select(session_generations.c.generation).where(session_generations.c.user_key == bindparam("user")).scalar_subquery()
_CURRENT = select(func.coalesce(_GENERATION, 0), _EPOCH.scalar_subquery(), OWNER.scalar_subquery())
_CLOCK_ROWS = and_(session_ends.c.user_key == "", session_ends.c.handle.is_(None), session_ends.c.reason == CLOCK)
_KEPT_FROM = bindparam("kept_from", type_=BigInteger())
_LIFETIME = case((NowMs() < _KEPT_FROM, _KEPT_FROM), else_=NowMs()) + bindparam("longest_ms", type_=BigInteger())
_SEALED_UNTIL = func.coalesce(select(func.max(session_ends.c.expires_at)).where(_CLOCK_ROWS).scalar_subquery(), 0)
_EXPIRES_AT = case((_LIFETIME < _SEALED_UNTIL, _SEALED_UNTIL), else_=_LIFETIME)
_NOT_BEFORE = select(func.coalesce(func.max(session_ends.c.ended_at), 0)).where(_CLOCK_ROWS)
_END = insert(session_ends).values(
    {name: bindparam(name) for name in ("user_key", "handle", "generation", "reason", "ended_at", "successor", "nonce")}
    | {"expires_at": _EXPIRES_AT}
)
"""Built once: building a statement takes longer than executing it."""

NOTES_PER_LIFETIME = 24
"""How many rows the prunes of one longest lifetime leave at most. Such a row covers later prunes too."""

T = TypeVar("T")


class _HasEnded(Exception):
    """The session has ended."""


class Journal:
    """The implementation of `EndsJournal`. `longest_ms`: the longest lifetime that the settings allow a session."""

    has_journal = True

    def __init__(self, database: Database, longest_ms: int) -> None:
        self._database = database
        self._longest_ms = longest_ms
        self._deployment: Deployment | None = None

    def belong_to(self, deployment: Deployment) -> None:
        """From now on use no other deployment's database. A host name may lead to one for a while."""
        self._deployment = deployment

    async def record(self, rows: Sequence[EndRow]) -> None:
        async def step(connection: AsyncConnection) -> None:
            await connection.execute(_END, [self._values(row) for row in rows])

        await self._write(step)

    async def raise_generation(
        self, user: str, reason: str, *, seen: int = 0, ended_at: int, in_transaction: InTransaction | None = None
    ) -> int:
        async def step(connection: AsyncConnection) -> int:
            generation = await self._raise(connection, user, reason, seen=seen, ended_at=ended_at)
            if in_transaction is not None:
                await in_transaction(connection)
            return generation

        return await self._write(step)

    async def rotate(
        self, rotation: EndRow, current: Current, *, revokes: str | None, in_transaction: InTransaction | None = None
    ) -> bool:
        ends = session_ends.c
        ended = select(ends.seq).where(ends.user_key == rotation.user, ends.handle == rotation.handle).limit(1)

        async def step(connection: AsyncConnection) -> None:
            # Of two that come at once the second waits here, for the row of the user's generation.
            generation = int((await connection.execute(HOLD, {"user": rotation.user})).scalar_one())
            epoch = (await connection.execute(_EPOCH)).scalar_one_or_none()
            is_over = generation > current.generation or epoch != current.epoch
            if is_over or (await connection.execute(ended)).scalar_one_or_none() is not None:
                raise _HasEnded
            if revokes is not None:
                await self._raise(connection, rotation.user, revokes, seen=current.generation, ended_at=rotation.ended_at)
            await connection.execute(_END, self._values(rotation))
            if in_transaction is not None:
                await in_transaction(connection)

        try:
            await self._write(step)
        except _HasEnded:
            return False
        return True

    async def current(self, user: str) -> Current:
        async def step(connection: AsyncConnection) -> Current:
            generation, epoch, found = (await connection.execute(_CURRENT, {"user": user})).one()
            self._check_whose(found)
            return Current(int(generation), epoch or "")

        return await self._database.read(step)

    async def change_epoch(self, reason: str, *, ended_at: int) -> EpochChange:
        async def step(connection: AsyncConnection) -> EpochChange:
            await connection.execute(HOLD, {"user": ""})  # two at once take turns
            before = str((await connection.execute(_EPOCH)).scalar_one())
            after = secrets.token_hex(8)
            row = {"user_key": "", "reason": reason, "ended_at": ended_at, "epoch": before, "successor": after}
            row |= {"expires_at": TO_THE_LAST, "nonce": secrets.token_hex(8)}
            await connection.execute(insert(session_ends).values(row))
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(epoch=after))
            return EpochChange(before, after)

        return await self._write(step)

    async def recommit(self, rows: Sequence[Row], sentinels: SentinelRow) -> int:
        async def step(connection: AsyncConnection) -> int:
            count = 0
            await connection.execute(HOLD, {"user": ""})  # workers that find it out together take turns
            for row in rows:
                if row.reason != REGISTERED and await connection.scalar(_same_as(row)) is None:
                    count += 1
                    await self._insert_again(connection, row)
                await self._take_effect(connection, row)
            word = func.coalesce(fleet.c.restored, secrets.token_hex(8))
            await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(restored=word))
            is_older = tuple_(fleet.c.sentinel_base, fleet.c.sentinel_epoch) < (sentinels.base, sentinels.epoch)
            await connection.execute(_set_sentinels(sentinels).where(is_older))
            return count

        return await self._write(step)

    async def lacks(self, rows: Sequence[Row]) -> bool:
        async def step(connection: AsyncConnection) -> bool:
            return any([await connection.scalar(_same_as(row)) is None for row in rows])

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

    async def raised(self, after: int, limit: int) -> list[Row]:
        ends = session_ends.c
        ends_many = or_(ends.generation.is_not(None), ends.epoch.is_not(None), ends.reason == CLOCK)
        wanted = and_(ends.handle.is_(None), ends.seq > after, ends_many)
        return await self._rows(select(session_ends).where(wanted).order_by(ends.seq).limit(limit))

    async def read(self, after: int, gaps: Collection[int], limit: int, *, checked: Collection[int] = ()) -> Reading:
        seq = session_ends.c.seq
        wanted = or_(seq > after, seq.in_(sorted(gaps))) if gaps else seq > after

        async def step(connection: AsyncConnection) -> Reading:
            found = await connection.execute(select(session_ends).where(wanted).order_by(seq).limit(limit))
            rows = [Row(*each) for each in found]
            return Reading(rows, await _nonces(connection, checked), await _deployment(connection))

        return await self._database.read(step)

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        ends, generations = session_ends.c, session_generations.c
        by_session = select(session_ends).where(tuple_(ends.user_key, ends.handle).in_(refs)).order_by(ends.seq)
        by_user = select(session_generations).where(generations.user_key.in_({ref.user for ref in refs}))

        async def step(connection: AsyncConnection) -> LookedUp:
            rows = [Row(*each) for each in await connection.execute(by_session)]
            known = {user: int(generation) for user, generation in await connection.execute(by_user)}
            return LookedUp(rows, known, await _deployment(connection), await _nonces(connection, checked))

        return await self._database.read(step)

    async def successors(self, ref: SessionRef, limit: int) -> Successors:
        async def step(connection: AsyncConnection) -> Successors:
            await check_primary(connection)
            self._check_whose(await connection.scalar(OWNER))
            found = (await connection.execute(SUCCESSORS, {"user": ref.user, "handle": ref.handle, "limit": limit + 1})).all()
            not_ended = [SessionRef(ref.user, each.handle) for each in found if not each.is_ended]
            return Successors(not_ended, is_complete=len(found) <= limit)

        return await self._database.read(step)

    async def of_user(self, user: str) -> list[Row]:
        return await self._rows(select(session_ends).where(session_ends.c.user_key == user).order_by(session_ends.c.seq))

    async def agree(self, *, lease_ms: int, name: str) -> DeploymentRow | None:
        values = {"lease_ms": func.coalesce(fleet.c.lease_ms, lease_ms), "name": func.coalesce(fleet.c.name, name)}

        async def step(connection: AsyncConnection) -> DeploymentRow | None:
            known = await _deployment(connection)
            if known is not None and None in {known.lease_ms, known.name}:
                await connection.execute(update(fleet).where(fleet.c.singleton == 1).values(values))
                known = await _deployment(connection)
            return known

        return await self._database.write(step)

    async def set_lease(self, lease_ms: int) -> None:
        """Change the deployment's lease. No worker may be running."""
        await self._execute(update(fleet).where(fleet.c.singleton == 1).values(lease_ms=lease_ms))

    async def set_identity(self, deployment_id: str, name: str) -> None:
        """Make this database another deployment's. No worker may be running."""
        await self._execute(update(fleet).where(fleet.c.singleton == 1).values(id=deployment_id, name=name))

    async def raise_sentinels(self, to: SentinelRow) -> SentinelRow:
        is_lower = and_(fleet.c.sentinel_base == to.base, fleet.c.sentinel_epoch < to.epoch)
        return await self._change_sentinels(_set_sentinels(to).where(is_lower))

    async def accept_sentinels(self, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
        is_seen = and_(fleet.c.sentinel_base == seen.base, fleet.c.sentinel_epoch == seen.epoch)
        return await self._change_sentinels(_set_sentinels(SentinelRow(seen.base + 1, epoch, primary)).where(is_seen))

    async def clear_restored(self, *, seen: str) -> None:
        await self._execute(update(fleet).where(fleet.c.singleton == 1, fleet.c.restored == seen).values(restored=None))

    async def known_deployment(self) -> DeploymentRow | None:
        """The deployment's row as it is."""
        return await self._database.read(_deployment)

    async def prune(self, due_at: int, limit: int) -> int:
        ends = session_ends.c
        newest = select(func.max(ends.seq)).scalar_subquery()
        due = select(ends.seq, ends.ended_at).where(ends.expires_at < due_at, ends.seq < newest).order_by(ends.seq).limit(limit)

        async def step(connection: AsyncConnection) -> int:
            found = (await connection.execute(due)).all()
            if not found:
                return 0
            ended_at = max(row.ended_at for row in found)
            if ended_at > (await connection.execute(_NOT_BEFORE)).scalar_one():
                await self._note_clock(connection, ended_at + self._longest_ms // NOTES_PER_LIFETIME, kept_from=0)
            numbers = [row.seq for row in found]
            return (await connection.execute(delete(session_ends).where(ends.seq.in_(numbers)))).rowcount

        return await self._write(step)

    async def note_set_back(self, not_before: int, *, sealed_until: int) -> None:
        async def step(connection: AsyncConnection) -> None:
            await connection.execute(HOLD, {"user": ""})  # workers that find it out together take turns
            if not_before > (await connection.execute(_NOT_BEFORE)).scalar_one():
                await self._note_clock(connection, not_before, kept_from=sealed_until)

        await self._write(step)

    async def now_ms(self) -> int:
        async def step(connection: AsyncConnection) -> int:
            return int((await connection.execute(select(NowMs()))).scalar_one())

        return await self._database.read(step)

    async def _change_sentinels(self, change: UpdateBase) -> SentinelRow:
        async def step(connection: AsyncConnection) -> SentinelRow:
            await connection.execute(change)
            return SentinelRow(*(await connection.execute(select(*_SENTINELS).where(fleet.c.singleton == 1))).one())

        return await self._write(step)

    async def _rows(self, query: Select[Any]) -> list[Row]:
        async def step(connection: AsyncConnection) -> list[Row]:
            return [Row(*each) for each in await connection.execute(query)]

        return await self._database.read(step)

    async def _execute(self, change: UpdateBase) -> int:
        """Change rows. Returns how many."""

        async def step(connection: AsyncConnection) -> int:
            return (await connection.execute(change)).rowcount

        return await self._database.write(step)

    async def _write(self, step: Step[T]) -> T:
        """Check the database's deployment, then run a step in it. Raises `DatabaseUnavailable` if it is another deployment's."""

        async def checked(connection: AsyncConnection) -> T:
            if self._deployment is not None and self._deployment.id is not None:
                self._check_whose(await connection.scalar(OWNER))
            return await step(connection)

        return await self._database.write(checked)

    def _check_whose(self, found: str | None) -> None:
        """`found`: the deployment id in the database. Raises `DatabaseUnavailable` if it is not ours."""
        if self._deployment is not None and self._deployment.id is not None:
            check_owner(found, self._deployment.id)

    async def _note_clock(self, connection: AsyncConnection, not_before: int, *, kept_from: int) -> None:
        row = {"user_key": "", "handle": None, "generation": None, "reason": CLOCK, "ended_at": not_before, "successor": None}
        await connection.execute(_END, self._stamped(**row) | {"kept_from": kept_from})

    def _values(self, row: EndRow) -> dict[str, object]:
        return self._stamped(
            user_key=row.user, handle=row.handle, generation=None, reason=row.reason, ended_at=row.ended_at, successor=row.successor
        )

    def _stamped(self, **values: object) -> dict[str, object]:
        return {"kept_from": values["ended_at"], **values, "longest_ms": self._longest_ms, "nonce": secrets.token_hex(8)}

    async def _raise(self, connection: AsyncConnection, user: str, reason: str, *, seen: int, ended_at: int) -> int:
        generation = int((await connection.execute(RAISE, {"user": user, "least": seen + 1})).scalar_one())
        row = {
            "user_key": user,
            "handle": None,
            "generation": generation,
            "reason": reason,
            "ended_at": ended_at,
            "successor": None,
        }
        await connection.execute(_END, self._stamped(**row))
        return generation

    async def _insert_again(self, connection: AsyncConnection, row: Row) -> None:
        values = row._asdict()
        del values["seq"]
        values["user_key"] = values.pop("user")
        values["nonce"] = row.nonce or secrets.token_hex(8)
        await connection.execute(insert(session_ends).values(values))

    async def _take_effect(self, connection: AsyncConnection, row: Row) -> None:
        """Repeat the row's effect on the other tables: they may have been restored although this table was not."""
        if row.generation is not None:
            await connection.execute(AT_LEAST, {"user": row.user, "least": row.generation})
        if row.epoch is not None:
            await connection.execute(
                update(fleet).where(fleet.c.singleton == 1, fleet.c.epoch == row.epoch).values(epoch=row.successor)
            )


async def note_registration(connection: AsyncConnection, user: str, *, longest_ms: int, registered_at: int) -> None:
    """Write the row of a user's registration, in the transaction that inserts the user."""
    row = {"user_key": user, "handle": None, "generation": None, "reason": REGISTERED, "ended_at": registered_at}
    kept = {"kept_from": registered_at, "longest_ms": longest_ms, "nonce": secrets.token_hex(8)}
    await connection.execute(_END, row | kept | {"successor": None})


def generation_of(user_id: ColumnElement[int]) -> ColumnElement[int]:
    """The generation of the user with the id in this column of another table, for a query that reads both at once."""
    key = literal(NUMBER) + cast(user_id, String)
    known = select(session_generations.c.generation).where(session_generations.c.user_key == key).scalar_subquery()
    return func.coalesce(known, 0)


def current_epoch() -> ColumnElement[str]:
    """The deployment's epoch, for a query that also reads a user."""
    return func.coalesce(_EPOCH.scalar_subquery(), "")


async def _deployment(connection: AsyncConnection) -> DeploymentRow | None:
    """The deployment of this journal. Raises as `check_primary`."""
    row = (await connection.execute(_DEPLOYMENT)).one_or_none()
    await check_primary(connection)
    return None if row is None else DeploymentRow(*row[:5], SentinelRow(*row[5:]))


def _set_sentinels(row: SentinelRow) -> Update:
    changed = {"sentinel_base": row.base, "sentinel_epoch": row.epoch, "sentinel_primary": row.primary}
    return update(fleet).where(fleet.c.singleton == 1).values(changed)


async def _nonces(connection: AsyncConnection, checked: Collection[int]) -> dict[int, str | None]:
    if not checked:
        return {}
    ends = session_ends.c
    found = await connection.execute(select(ends.seq, ends.nonce).where(ends.seq.in_(sorted(checked))))
    return {each.seq: each.nonce for each in found}


async def check_primary(connection: AsyncConnection) -> None:
    """Raises `DatabaseUnavailable` for a standby of PostgreSQL, which may lack the last commits."""
    if connection.dialect.name == "postgresql" and (await connection.execute(_IN_RECOVERY)).scalar_one():
        raise DatabaseUnavailable("the user database is a standby, which may lack the last commits")


def _same_as(row: Row) -> Select[tuple[int]]:
    """The number of this row, or of a row with the same effect."""
    ends = session_ends.c
    if row.epoch is not None:
        does_same = ends.epoch == row.epoch
    elif row.reason == CLOCK:
        does_same = and_(_CLOCK_ROWS, ends.ended_at >= row.ended_at)
    elif row.handle is not None:
        does_same = and_(ends.user_key == row.user, ends.handle == row.handle)
    else:
        does_same = and_(ends.user_key == row.user, ends.handle.is_(None), ends.generation >= (row.generation or 0))
    return select(ends.seq).where(does_same).limit(1)
