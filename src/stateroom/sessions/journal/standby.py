"""The check that a connection leads to the primary of PostgreSQL, and not to a standby of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from ...errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_IN_RECOVERY = select(func.pg_is_in_recovery())


async def check_primary(connection: AsyncConnection) -> None:
    """Raises `DatabaseUnavailable` for a standby of PostgreSQL, which may lack the last commits."""
    if connection.dialect.name == "postgresql" and (await connection.execute(_IN_RECOVERY)).scalar_one():
        raise DatabaseUnavailable("the user database is a standby, which may lack the last commits")
