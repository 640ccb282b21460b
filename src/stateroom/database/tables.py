"""What the modules with tables share: on what a table is declared, and how their steps are run."""

from __future__ import annotations

from typing import Protocol, TypeVar

from sqlalchemy import MetaData

from ..sqlite.direct import Step

T = TypeVar("T")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Steps(Protocol):
    """Runs steps in transactions, as `Database.read` and `Database.write` do."""

    async def read(self, step: Step[T]) -> T: ...

    async def write(self, step: Step[T]) -> T: ...
