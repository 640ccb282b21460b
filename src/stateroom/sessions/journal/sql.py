"""The journal of ends in the user database: which statements each of its calls runs, in which kind of transaction.

Redis replicates asynchronously: a promoted replica may lack the last deletions. So each end is a row in the user
database until the session would have expired anyway. A row ends one session: user and handle must both match. A row
with a generation ends every older session of the user, and a row with an epoch every session of that epoch. The row of
a rotation names the session's new handle. A user's registration is a row too, which ends nothing: if it is missing, the
database was restored from a backup that is older than the user (protocol/unknown_users.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import and_, or_, select, tuple_

from ...database import LONGEST_CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS
from ..model.deployment import Current, DeploymentRow, SentinelRow
from ..model.identity import SessionRef
from ..model.rows import CLOCK, EndRow, InTransaction, Row
from . import deployment_row, end_rows, pruning, repair
from .database_time import NowMs
from .generations import GENERATION, HOLD
from .interface import EpochChange, LookedUp, Reading, Successors
from .own_database import OWNER, check_owner
from .read_numbers import GAP_SECONDS
from .standby import check_primary
from .successors import SUCCESSORS
from .tables import session_ends, session_generations

if TYPE_CHECKING:
    from sqlalchemy import Select, UpdateBase
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Database
    from ...sqlite.direct import Step
    from ..model.deployment import Deployment

assert GAP_SECONDS > LONGEST_CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS, (
    "tails would stop looking for rows that still come"
)

_CURRENT = select(GENERATION, deployment_row.EPOCH.scalar_subquery(), OWNER.scalar_subquery())

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
        await self._write(lambda connection: end_rows.record(connection, rows, longest_ms=self._longest_ms))

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
            epoch = (await connection.execute(deployment_row.EPOCH)).scalar_one_or_none()
            is_over = generation > current.generation or epoch != current.epoch
            if is_over or (await connection.execute(ended)).scalar_one_or_none() is not None:
                raise _HasEnded
            if revokes is not None:
                await self._raise(connection, rotation.user, revokes, seen=current.generation, ended_at=rotation.ended_at)
            await end_rows.record(connection, [rotation], longest_ms=self._longest_ms)
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
        return await self._write(lambda connection: end_rows.change_epoch(connection, reason, ended_at=ended_at))

    async def recommit(self, rows: Sequence[Row], sentinels: SentinelRow) -> int:
        return await self._write(lambda connection: repair.recommit(connection, rows, sentinels))

    async def lacks(self, rows: Sequence[Row]) -> bool:
        return await self._database.read(lambda connection: repair.lacks(connection, rows))

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
            return Reading(rows, await _nonces(connection, checked), await deployment_row.read(connection))

        return await self._database.read(step)

    async def look_up(self, refs: Sequence[SessionRef], *, checked: Collection[int] = ()) -> LookedUp:
        ends, generations = session_ends.c, session_generations.c
        by_session = select(session_ends).where(tuple_(ends.user_key, ends.handle).in_(refs)).order_by(ends.seq)
        by_user = select(session_generations).where(generations.user_key.in_({ref.user for ref in refs}))

        async def step(connection: AsyncConnection) -> LookedUp:
            rows = [Row(*each) for each in await connection.execute(by_session)]
            known = {user: int(generation) for user, generation in await connection.execute(by_user)}
            return LookedUp(rows, known, await deployment_row.read(connection), await _nonces(connection, checked))

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
        return await self._database.write(lambda connection: deployment_row.agree(connection, lease_ms=lease_ms, name=name))

    async def set_lease(self, lease_ms: int) -> None:
        """Change the deployment's lease. No worker may be running."""
        await self._execute(deployment_row.change(lease_ms=lease_ms))

    async def set_identity(self, deployment_id: str, name: str) -> None:
        """Make this database another deployment's. No worker may be running."""
        await self._execute(deployment_row.change(id=deployment_id, name=name))

    async def raise_sentinels(self, to: SentinelRow) -> SentinelRow:
        return await self._write(lambda connection: deployment_row.raise_sentinels(connection, to))

    async def accept_sentinels(self, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
        return await self._write(lambda connection: deployment_row.accept_sentinels(connection, seen, epoch=epoch, primary=primary))

    async def clear_restored(self, *, seen: str) -> None:
        await self._execute(deployment_row.clear_restored(seen))

    async def known_deployment(self) -> DeploymentRow | None:
        """The deployment's row as it is."""
        return await self._database.read(deployment_row.read)

    async def prune(self, due_at: int, limit: int) -> int:
        return await self._write(lambda connection: pruning.prune(connection, due_at, limit, longest_ms=self._longest_ms))

    async def note_set_back(self, not_before: int, *, sealed_until: int) -> None:
        await self._write(
            lambda connection: pruning.note_set_back(connection, not_before, sealed_until=sealed_until, longest_ms=self._longest_ms)
        )

    async def now_ms(self) -> int:
        async def step(connection: AsyncConnection) -> int:
            return int((await connection.execute(select(NowMs()))).scalar_one())

        return await self._database.read(step)

    async def _rows(self, query: Select[Any]) -> list[Row]:
        async def step(connection: AsyncConnection) -> list[Row]:
            return [Row(*each) for each in await connection.execute(query)]

        return await self._database.read(step)

    async def _execute(self, change: UpdateBase) -> None:
        async def step(connection: AsyncConnection) -> None:
            await connection.execute(change)

        await self._database.write(step)

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

    async def _raise(self, connection: AsyncConnection, user: str, reason: str, *, seen: int, ended_at: int) -> int:
        longest_ms = self._longest_ms
        return await end_rows.raise_generation(connection, user, reason, seen=seen, ended_at=ended_at, longest_ms=longest_ms)


async def _nonces(connection: AsyncConnection, checked: Collection[int]) -> dict[int, str | None]:
    if not checked:
        return {}
    ends = session_ends.c
    found = await connection.execute(select(ends.seq, ends.nonce).where(ends.seq.in_(sorted(checked))))
    return {each.seq: each.nonce for each in found}
