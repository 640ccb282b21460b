"""The database schema's history, shipped with the package and applied by alembic.

Releases run side by side while a fleet is upgraded: a revision only adds what the release before it can do without.
So a schema that is newer than this release is good enough for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, inspect, select, table, text

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent
UPGRADE_LOCK = 7305283
"""Any number that nobody else locks in the same PostgreSQL database."""


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, in the connection's transaction; a newer one is left alone."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    if is_behind(current(connection)):
        _apply(connection)


def current(connection: Connection) -> str | None:
    """The schema's revision, where alembic keeps it; None where there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
    return revision


def is_behind(revision: str | None) -> bool:
    """Whether this release needs a newer schema. A revision that it does not know is a later release's."""
    known = revisions()
    return revision is None or revision in known[:-1]


def revisions() -> list[str]:
    """What this release knows, the newest last, by the names of the files: r0001_….py."""
    return sorted(path.name[1:].partition("_")[0] for path in (_FOLDER / "versions").glob("r*.py"))


def _apply(connection: Connection) -> None:
    from alembic import command  # takes a quarter of a second to import, and few processes need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
