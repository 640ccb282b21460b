"""The user database: one engine, its faults, its schema.

It is SQLite by default (one file under `STATE_DIR`), and PostgreSQL in production. Every fault of the database is raised
as `DatabaseUnavailable`. A broken constraint is raised as SQLAlchemy's `IntegrityError`. Each table is declared on
`metadata` in the module that uses it. `migrations/` creates and changes the tables.
"""

from .database import CONNECT_TIMEOUT_SECONDS, LONGEST_CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS, Database
from .tables import Steps, metadata

__all__ = [
    "CONNECT_TIMEOUT_SECONDS",
    "LONGEST_CONNECT_TIMEOUT_SECONDS",
    "STATEMENT_TIMEOUT_SECONDS",
    "Database",
    "Steps",
    "metadata",
]
