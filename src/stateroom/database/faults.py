"""Faults of the database: what the driver raises becomes one of our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ..errors import DatabaseUnavailable, SettingsError

# By SQLSTATE or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSALS = {
    "28": "the server refuses this user or password; correct the user and the password",
    "3D": "the server has no such database; create it, or name another",
    "42501": "this user may not use or change the schema; grant it USAGE and, for `stateroom db upgrade`, CREATE",
    "42704": "the server does not know a parameter after the ? in the URL; remove that parameter",
}


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """Raise faults of the database as `DatabaseUnavailable`, and a broken constraint as it is."""
    try:
        yield
    except IntegrityError:
        raise
    except (
        SQLAlchemyError,
        OSError,
        EOFError,
        TimeoutError,
    ) as error:  # asyncpg raises EOFError if the server closes the connection.
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        raise DatabaseUnavailable(f"the user database does not answer: {type(cause).__name__}") from error


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raise `SettingsError` if the server refuses us, because waiting does not change that. Other faults are not changed."""
    try:
        yield
    except DatabaseUnavailable as error:
        cause = error.__cause__
        state = str(getattr(getattr(cause, "orig", None), "sqlstate", None) or "")
        for prefix, words in _REFUSALS.items():
            if state.startswith(prefix):
                raise SettingsError(f"DATABASE_URL: {words}") from None
        raise


@contextlib.contextmanager
def folder_faults(setting: str, path: Path) -> Iterator[None]:
    """Raise `SettingsError` if a file or folder cannot be made. `setting`: the name of the setting that names it."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{setting}: {path} cannot be written: {error.strerror}; name a folder that can be written") from None
