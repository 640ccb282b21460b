"""The groups of users. An operator sets them; invitations may carry them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, String, Table, delete, func, select, text

from ..database import metadata
from ..errors import BadInput, FieldError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..database import Steps

MAX_GROUPS = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NO_GROUP = "must be 1 to 64 characters of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or digit"

user_groups = Table(
    "user_groups",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(64), primary_key=True),
)
_JOIN = text("INSERT INTO user_groups (user_id, name) VALUES (:user_id, :name) ON CONFLICT DO NOTHING")


class Groups:
    """The table of groups. Each call raises `DatabaseUnavailable`."""

    def __init__(self, database: Steps) -> None:
        self._database = database

    async def of(self, user_id: int) -> list[str]:
        """The groups of a user, sorted."""

        async def step(connection: AsyncConnection) -> list[str]:
            query = select(user_groups.c.name).where(user_groups.c.user_id == user_id).order_by(user_groups.c.name)
            return list((await connection.execute(query)).scalars())

        return await self._database.read(step)

    async def of_everybody(self) -> dict[int, list[str]]:
        """The groups of each user who is in one, sorted, by the user's id."""

        async def step(connection: AsyncConnection) -> dict[int, list[str]]:
            found: dict[int, list[str]] = {}
            for user_id, name in await connection.execute(select(user_groups).order_by(user_groups.c.name)):
                found.setdefault(user_id, []).append(name)
            return found

        return await self._database.read(step)

    async def change(self, user_id: int, *, add: Collection[str] = (), remove: Collection[str] = ()) -> list[str]:
        """Put a user into groups and out of groups, and return the groups then. Raises `BadInput` for an invalid name."""
        check_names(add)

        async def step(connection: AsyncConnection) -> None:
            await leave(connection, user_id, remove)
            await join(connection, user_id, add)
            count = select(func.count()).where(user_groups.c.user_id == user_id)
            if (await connection.execute(count)).scalar_one() > MAX_GROUPS:
                raise BadInput(f"groups: a user may be in at most {MAX_GROUPS}")

        await self._database.write(step)
        return await self.of(user_id)


def check_names(names: Collection[str]) -> None:
    """Raises `BadInput` if a group's name is invalid, or if there are more than `MAX_GROUPS`."""
    if len(names) > MAX_GROUPS:
        raise BadInput(f"groups: at most {MAX_GROUPS}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadInput(errors=(FieldError("group", NO_GROUP),))


async def join(connection: AsyncConnection, user_id: int, names: Collection[str]) -> None:
    """Put a user into groups, in a transaction of the caller. Groups that the user is in already stay."""
    if names:
        await connection.execute(_JOIN, [{"user_id": user_id, "name": name} for name in sorted(set(names))])


async def leave(connection: AsyncConnection, user_id: int, names: Collection[str] | None = None) -> None:
    """Take a user out of these groups, or out of all groups, in a transaction of the caller."""
    query = delete(user_groups).where(user_groups.c.user_id == user_id)
    await connection.execute(query if names is None else query.where(user_groups.c.name.in_(names)))
