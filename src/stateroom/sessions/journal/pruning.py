"""Deletes rows that are due, and notes from when on sealed values count.

Without its end a session could be trusted again by a sealed value. So a row about clocks notes how old a sealed value may be
whose end is pruned. Another one notes that Redis' clock was set back. Each function runs in a transaction of its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from .end_rows import CLOCK_ROWS, note_clock
from .generations import HOLD
from .tables import session_ends

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

NOTES_PER_LIFETIME = 24
"""How many rows the prunes of one longest lifetime leave at most. Such a row covers later prunes too."""
_NOT_BEFORE = select(func.coalesce(func.max(session_ends.c.ended_at), 0)).where(CLOCK_ROWS)


async def prune(connection: AsyncConnection, due_at: int, limit: int, *, longest_ms: int) -> int:
    """Delete rows that were due at this time, at most `limit` and never the newest. Returns how many."""
    ends = session_ends.c
    newest = select(func.max(ends.seq)).scalar_subquery()
    due = select(ends.seq, ends.ended_at).where(ends.expires_at < due_at, ends.seq < newest).order_by(ends.seq).limit(limit)
    found = (await connection.execute(due)).all()
    if not found:
        return 0
    ended_at = max(row.ended_at for row in found)
    if ended_at > (await connection.execute(_NOT_BEFORE)).scalar_one():
        await note_clock(connection, ended_at + longest_ms // NOTES_PER_LIFETIME, kept_from=0, longest_ms=longest_ms)
    numbers = [row.seq for row in found]
    return (await connection.execute(delete(session_ends).where(ends.seq.in_(numbers)))).rowcount


async def note_set_back(connection: AsyncConnection, not_before: int, *, sealed_until: int, longest_ms: int) -> None:
    """Note that Redis' clock was set back from `sealed_until` to `not_before`, unless that is known."""
    await connection.execute(HOLD, {"user": ""})  # workers that find it out together take turns
    if not_before > (await connection.execute(_NOT_BEFORE)).scalar_one():
        await note_clock(connection, not_before, kept_from=sealed_until, longest_ms=longest_ms)
