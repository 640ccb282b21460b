"""Inserts the journal's rows, one function for each kind of row, with the time until which each row is kept.

A row is kept for the longest lifetime that the settings allow. The time counts from the database's clock, or from Redis'
clock if that was ahead, because sealed values go by Redis' clock. If Redis' clock was set back, it counts from the latest
time that values were sealed with. Only pruning uses that time.

Each function runs in a transaction of its caller. `longest_ms`: the longest lifetime that the settings allow a session.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, and_, bindparam, case, func, insert, select

from ..model.rows import CLOCK, REGISTERED, TO_THE_LAST, EndRow
from . import deployment_row
from .database_time import NowMs
from .generations import HOLD, RAISE
from .interface import EpochChange
from .tables import session_ends

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

CLOCK_ROWS = and_(session_ends.c.user_key == "", session_ends.c.handle.is_(None), session_ends.c.reason == CLOCK)
"""The condition for rows about clocks."""
_KEPT_FROM = bindparam("kept_from", type_=BigInteger())
_LIFETIME = case((NowMs() < _KEPT_FROM, _KEPT_FROM), else_=NowMs()) + bindparam("longest_ms", type_=BigInteger())
_SEALED_UNTIL = func.coalesce(select(func.max(session_ends.c.expires_at)).where(CLOCK_ROWS).scalar_subquery(), 0)
_EXPIRES_AT = case((_LIFETIME < _SEALED_UNTIL, _SEALED_UNTIL), else_=_LIFETIME)
_INSERT = insert(session_ends).values(
    {name: bindparam(name) for name in ("user_key", "handle", "generation", "reason", "ended_at", "successor", "nonce")}
    | {"expires_at": _EXPIRES_AT}
)
"""Built once: building a statement takes longer than executing it."""


async def record(connection: AsyncConnection, rows: Sequence[EndRow], *, longest_ms: int) -> None:
    """Insert the ends of single sessions."""
    values = [_values(row.user, row.reason, row.ended_at, longest_ms, handle=row.handle, successor=row.successor) for row in rows]
    await connection.execute(_INSERT, values)


async def raise_generation(
    connection: AsyncConnection, user: str, reason: str, *, seen: int, ended_at: int, longest_ms: int
) -> int:
    """Raise the user's generation above `seen`, and insert the row that says so. Returns the generation."""
    generation = int((await connection.execute(RAISE, {"user": user, "least": seen + 1})).scalar_one())
    await connection.execute(_INSERT, _values(user, reason, ended_at, longest_ms, generation=generation))
    return generation


async def change_epoch(connection: AsyncConnection, reason: str, *, ended_at: int) -> EpochChange:
    """Give the deployment another epoch, and insert the row that says so. It is never pruned."""
    await connection.execute(HOLD, {"user": ""})  # two at once take turns
    before = str((await connection.execute(deployment_row.EPOCH)).scalar_one())
    after = secrets.token_hex(8)
    row = {"user_key": "", "reason": reason, "ended_at": ended_at, "epoch": before, "successor": after}
    row |= {"expires_at": TO_THE_LAST, "nonce": secrets.token_hex(8)}
    await connection.execute(insert(session_ends).values(row))
    await connection.execute(deployment_row.change(epoch=after))
    return EpochChange(before, after)


async def note_registration(connection: AsyncConnection, user: str, *, longest_ms: int, registered_at: int) -> None:
    """Insert the row of a user's registration, in the transaction that inserts the user."""
    await connection.execute(_INSERT, _values(user, REGISTERED, registered_at, longest_ms))


async def note_clock(connection: AsyncConnection, not_before: int, *, kept_from: int, longest_ms: int) -> None:
    """Insert a row about clocks: what was sealed before `not_before` proves nothing by itself."""
    await connection.execute(_INSERT, _values("", CLOCK, not_before, longest_ms) | {"kept_from": kept_from})


def _values(
    user: str,
    reason: str,
    ended_at: int,
    longest_ms: int,
    *,
    handle: str | None = None,
    generation: int | None = None,
    successor: str | None = None,
) -> dict[str, object]:
    return {
        "user_key": user,
        "handle": handle,
        "generation": generation,
        "reason": reason,
        "ended_at": ended_at,
        "successor": successor,
        "nonce": secrets.token_hex(8),
        "kept_from": ended_at,
        "longest_ms": longest_ms,
    }
