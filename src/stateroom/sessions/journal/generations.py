"""A user's generation: statements that read, lock or raise it, and expressions for queries that read more.

One statement does each step, so that no change comes between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String, bindparam, cast, func, literal, select, text

from ..model.identity import NUMBER
from .tables import session_ends, session_generations

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

HOLD = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, 0) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = session_generations.generation RETURNING generation"
)
"""Read the generation, and lock it until the transaction ends."""
RAISE = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation + 1 END RETURNING generation"
)
"""Make it one higher, and at least `least`, because a restored database may have forgotten some numbers."""
AT_LEAST = text(
    "INSERT INTO session_generations (user_key, generation) VALUES (:user, :least) "
    "ON CONFLICT (user_key) DO UPDATE SET generation = CASE WHEN session_generations.generation < excluded.generation "
    "THEN excluded.generation ELSE session_generations.generation END"
)
_KNOWN = select(session_generations.c.generation).where(session_generations.c.user_key == bindparam("user"))
GENERATION = func.coalesce(_KNOWN.scalar_subquery(), 0)
"""The generation of the user with the key in the parameter `user`."""


def generation_of(user_id: ColumnElement[int]) -> ColumnElement[int]:
    """The generation of the user with the id in this column of another table, for a query that reads both at once."""
    key = literal(NUMBER) + cast(user_id, String)
    known = select(session_generations.c.generation).where(session_generations.c.user_key == key).scalar_subquery()
    return func.coalesce(known, 0)


def raises_of(user_id: ColumnElement[int], seen: ColumnElement[int]) -> ColumnElement[int]:
    """How often the generation of the user with the id in this column was raised above `seen`, for a query of another table."""
    ends = session_ends.c
    key = literal(NUMBER) + cast(user_id, String)
    return select(func.count(ends.seq)).where(ends.user_key == key, ends.generation > seen).scalar_subquery()
