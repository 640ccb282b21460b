"""The user database, while it is this deployment's.

A host name may lead to another deployment's database for a while: after a mistake in DNS, or if a copy took its place. User 7
in it could be another person, and a registration there would be lost. So each step first compares the deployment's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select

from ...errors import DatabaseUnavailable
from .tables import fleet

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ...database import Steps
    from ...sqlite.direct import Step
    from ..model.deployment import Deployment

T = TypeVar("T")

OWNER = select(fleet.c.id).where(fleet.c.singleton == 1)
"""The id of the deployment whose database this is."""


class OwnDatabase:
    """Runs steps in the deployment's own database.

    Each call raises `DatabaseUnavailable` for another deployment's database, and while our own id is unknown.
    """

    def __init__(self, database: Steps, deployment: Deployment) -> None:
        self._database = database
        self._deployment = deployment

    async def read(self, step: Step[T]) -> T:
        """`Database.read`."""
        return await self._database.read(self._checked(step))

    async def write(self, step: Step[T]) -> T:
        """`Database.write`. Nothing is written to a database that is not ours."""
        return await self._database.write(self._checked(step))

    def _checked(self, step: Step[T]) -> Step[T]:
        own = self._deployment.known_id()

        async def checked(connection: AsyncConnection) -> T:
            check_owner(await connection.scalar(OWNER), own)
            return await step(connection)

        return checked


def check_owner(found: str | None, own: str) -> None:
    """Raises `DatabaseUnavailable` if the database that says `found` is not ours."""
    if found != own:
        raise DatabaseUnavailable("the user database is another deployment's")
