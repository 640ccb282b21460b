"""Commits again the rows that a user database lacks, because it was restored from a backup."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, insert, select

from ..model.deployment import SentinelRow
from ..model.rows import CLOCK, REGISTERED, Row
from . import deployment_row
from .end_rows import CLOCK_ROWS
from .generations import AT_LEAST, HOLD
from .tables import fleet, session_ends

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection


async def recommit(connection: AsyncConnection, rows: Sequence[Row], sentinels: SentinelRow) -> int:
    """Insert the rows that are missing, repeat the effects of all, and mark the database as restored.

    `sentinels`: raise the deployment's row to this state. Returns how many rows were missing. Runs in a transaction of its
    caller.
    """
    count = 0
    await connection.execute(HOLD, {"user": ""})  # workers that find it out together take turns
    for row in rows:
        if row.reason != REGISTERED and await connection.scalar(_same_as(row)) is None:
            count += 1
            await _insert_again(connection, row)
        await _take_effect(connection, row)
    await connection.execute(deployment_row.change(restored=func.coalesce(fleet.c.restored, secrets.token_hex(8))))
    await connection.execute(deployment_row.restore_sentinels(sentinels))
    return count


async def lacks(connection: AsyncConnection, rows: Sequence[Row]) -> bool:
    """Whether one of these rows is missing, and no other row has its effect."""
    return any([await connection.scalar(_same_as(row)) is None for row in rows])


async def _insert_again(connection: AsyncConnection, row: Row) -> None:
    values = row._asdict()
    del values["seq"]
    values["user_key"] = values.pop("user")
    values["nonce"] = row.nonce or secrets.token_hex(8)
    await connection.execute(insert(session_ends).values(values))


async def _take_effect(connection: AsyncConnection, row: Row) -> None:
    """Repeat the row's effect on the other tables: they may have been restored although this table was not."""
    if row.generation is not None:
        await connection.execute(AT_LEAST, {"user": row.user, "least": row.generation})
    if row.epoch is not None:
        await connection.execute(deployment_row.replace_epoch(row.epoch, row.successor))


def _same_as(row: Row) -> Select[tuple[int]]:
    """The number of this row, or of a row with the same effect."""
    ends = session_ends.c
    if row.epoch is not None:
        does_same = ends.epoch == row.epoch
    elif row.reason == CLOCK:
        does_same = and_(CLOCK_ROWS, ends.ended_at >= row.ended_at)
    elif row.handle is not None:
        does_same = and_(ends.user_key == row.user, ends.handle == row.handle)
    else:
        does_same = and_(ends.user_key == row.user, ends.handle.is_(None), ends.generation >= (row.generation or 0))
    return select(ends.seq).where(does_same).limit(1)
