"""The query for the successors of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Integer, and_, bindparam, exists, select

from .tables import session_ends

if TYPE_CHECKING:
    from sqlalchemy import Select


def _successors() -> Select[tuple[str, bool]]:
    """Every handle that followed one, and whether it has ended. UNION drops repetitions, so a circle ends the query too.

    A handle has at most one successor, because `rotate` refuses a session that has an end. A subquery finds the successor,
    because PostgreSQL may read the whole table for each step of a recursive join.
    """
    ends = session_ends.c
    of_user = and_(ends.user_key == bindparam("user"), ends.successor.is_not(None))
    chain = select(ends.successor.label("handle")).where(of_user, ends.handle == bindparam("handle")).cte("chain", recursive=True)
    following = select(ends.successor).where(of_user, ends.handle == chain.c.handle).order_by(ends.seq).limit(1).scalar_subquery()
    chain = chain.union(select(following).where(chain.c.handle.is_not(None)))
    own = session_ends.alias("own").c
    is_ended = exists().where(own.user_key == bindparam("user"), own.handle == chain.c.handle)
    return (
        select(chain.c.handle, is_ended.label("is_ended"))
        .where(chain.c.handle.is_not(None))
        .limit(bindparam("limit", type_=Integer()))
    )


SUCCESSORS = _successors()
"""Parameters: `user`, `handle`, `limit`. Built once: building a statement takes longer than executing it."""
