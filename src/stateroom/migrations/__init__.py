"""The revisions of the database schema. They are part of the package, and alembic runs them.

Two releases run side by side during an upgrade. Therefore a revision only adds things that the release before it does not
need, and a release works with a schema that is newer than itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, inspect, select, table, text

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent
UPGRADE_LOCK = 7305283
"""An arbitrary number. No other application may lock it in the same PostgreSQL database."""


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision in the connection's transaction. A newer schema is not changed."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    if is_behind(current(connection)):
        _run_revisions(connection)


def current(connection: Connection) -> str | None:
    """The schema's revision, as alembic stores it; None if there is no schema yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
    return revision


def is_behind(revision: str | None) -> bool:
    """Whether this release needs a newer schema. An unknown revision is from a later release, and is newer."""
    known = revisions()
    return revision is None or revision in known[:-1]


def revisions() -> list[str]:
    """The revisions that this release knows, oldest first. They come from the names of the files: r0001_….py."""
    return sorted(path.name[1:].partition("_")[0] for path in (_FOLDER / "versions").glob("r*.py"))


def _run_revisions(connection: Connection) -> None:
    from alembic import command  # The import takes a quarter of a second, and few processes need it.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
