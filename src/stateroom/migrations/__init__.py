"""The database schema's history, shipped with the package and applied by alembic.

Releases run side by side while a fleet is upgraded: a revision only adds what the release before it can do without.
So a schema that is newer than this release is good enough for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

UPGRADE_LOCK = 7305283
"""Any number that nobody else locks in the same PostgreSQL database."""


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, in the connection's transaction; a newer one is left alone."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    if not is_behind(MigrationContext.configure(connection).get_current_revision()):
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_behind(revision: str | None) -> bool:
    """Whether this release needs a newer schema. A revision that it does not know is a later release's."""
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    return revision is None or (revision in known and revision != scripts.get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config
