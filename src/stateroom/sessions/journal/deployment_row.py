"""The deployment's row in the user database: its id, name, lease and epoch, and what the workers agreed on about Sentinels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select, tuple_, update

from ..model.deployment import DeploymentRow, SentinelRow
from .standby import check_primary
from .tables import fleet

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Update
    from sqlalchemy.ext.asyncio import AsyncConnection

_IS_IT = fleet.c.singleton == 1
_SENTINELS = (fleet.c.sentinel_base, fleet.c.sentinel_epoch, fleet.c.sentinel_primary)
_ROW = select(fleet.c.id, fleet.c.name, fleet.c.lease_ms, fleet.c.epoch, fleet.c.restored, *_SENTINELS).where(_IS_IT)
EPOCH = select(fleet.c.epoch).where(_IS_IT)


def current_epoch() -> ColumnElement[str]:
    """The deployment's epoch, for a query that also reads a user."""
    return func.coalesce(EPOCH.scalar_subquery(), "")


async def read(connection: AsyncConnection) -> DeploymentRow | None:
    """The row; None if there is none. Raises as `check_primary`."""
    row = (await connection.execute(_ROW)).one_or_none()
    await check_primary(connection)
    return None if row is None else DeploymentRow(*row[:5], SentinelRow(*row[5:]))


def change(**values: Any) -> Update:
    """The statement that changes these columns."""
    return update(fleet).where(_IS_IT).values(values)


def replace_epoch(before: str, after: str | None) -> Update:
    """The statement that replaces this epoch."""
    return change(epoch=after).where(fleet.c.epoch == before)


def clear_restored(seen: str) -> Update:
    """The statement that notes that the cleaning up after a restore is done, unless another restore was found meanwhile."""
    return change(restored=None).where(fleet.c.restored == seen)


async def agree(connection: AsyncConnection, *, lease_ms: int, name: str) -> DeploymentRow | None:
    """The row, after its lease and name were set if it had none. None if there is no row."""
    known = await read(connection)
    if known is not None and None in {known.lease_ms, known.name}:
        await connection.execute(change(lease_ms=func.coalesce(fleet.c.lease_ms, lease_ms), name=func.coalesce(fleet.c.name, name)))
        known = await read(connection)
    return known


async def raise_sentinels(connection: AsyncConnection, to: SentinelRow) -> SentinelRow:
    """Raise the epoch of Sentinels in the same base. Returns what the row says then."""
    is_lower = and_(fleet.c.sentinel_base == to.base, fleet.c.sentinel_epoch < to.epoch)
    return await _change_sentinels(connection, _set_sentinels(to).where(is_lower))


async def accept_sentinels(connection: AsyncConnection, seen: SentinelRow, *, epoch: int, primary: str) -> SentinelRow:
    """Begin the next base, if the row still says `seen`. Returns what the row says then."""
    is_seen = and_(fleet.c.sentinel_base == seen.base, fleet.c.sentinel_epoch == seen.epoch)
    return await _change_sentinels(connection, _set_sentinels(SentinelRow(seen.base + 1, epoch, primary)).where(is_seen))


def restore_sentinels(to: SentinelRow) -> Update:
    """The statement that replaces an older state of any base, after the database went back."""
    return _set_sentinels(to).where(tuple_(fleet.c.sentinel_base, fleet.c.sentinel_epoch) < (to.base, to.epoch))


async def _change_sentinels(connection: AsyncConnection, statement: Update) -> SentinelRow:
    await connection.execute(statement)
    return SentinelRow(*(await connection.execute(select(*_SENTINELS).where(_IS_IT))).one())


def _set_sentinels(row: SentinelRow) -> Update:
    return change(sentinel_base=row.base, sentinel_epoch=row.epoch, sentinel_primary=row.primary)
