"""What `DATABASE_URL` says, for the two kinds of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import SettingsError
from ..settings import ENCODE_IT, RAW, has_raw_character

if TYPE_CHECKING:
    from ..settings import Settings

EXAMPLE = "for example postgresql://user:password@host/stateroom"


def sqlite_url(settings: Settings) -> URL | None:
    """The URL of an SQLite file; None if `DATABASE_URL` names another kind of database."""
    if settings.database_url is None:
        return URL.create("sqlite+aiosqlite", database=str(settings.state_dir / "stateroom.db"))
    text = settings.database_url.get_secret_value()
    if not text.startswith(("sqlite:", "sqlite+aiosqlite:")):
        return None
    try:
        url = make_url(text)
    except ArgumentError:
        url = URL.create("sqlite")
    if not url.database or url.database == ":memory:":
        raise SettingsError("DATABASE_URL names no file; for example sqlite:///var/stateroom.db")
    return url.set(drivername="sqlite+aiosqlite")


def postgres_dsn(settings: Settings) -> str:
    """The URL for asyncpg, which supports sslmode, several hosts and the other parts of a URL that libpq allows.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    """
    text = settings.database_url.get_secret_value() if settings.database_url is not None else ""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise SettingsError("DATABASE_URL is not a URL; " + EXAMPLE)
    if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise SettingsError(
            f"DATABASE_URL begins with {scheme}://; use postgresql:// or sqlite:///, or none for the library without one"
        )
    if "@" not in rest.partition("/")[0].partition("#")[0] and has_raw_character(text.partition("?")[0]):
        raise SettingsError(f"DATABASE_URL: {RAW} {ENCODE_IT}")
    return f"postgresql://{rest}"
