"""Says which Redis and which user database the settings name, and refuses settings that name nothing that exists.

In the wrong folder, the default settings name an embedded server and a database that never existed. A command that created
them would report "0 sessions ended" about a Redis that it has just created.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..backend.dial import Dialer
from ..backend.embedded import find_server, was_started_in
from ..database import Database
from ..errors import SettingsError

if TYPE_CHECKING:
    from ..settings import Settings

_FIX = "run this command in the service's folder, with the service's settings; start a new service once with `stateroom serve`"


@dataclass(frozen=True, slots=True)
class NamedStores:
    """Where sessions and users are, in words. They contain no secret."""

    store: str
    database: str

    @classmethod
    def of(cls, settings: Settings) -> NamedStores:
        """The Redis and the user database of the settings, whether they exist or not. Raises `SettingsError`."""
        return cls(_store(settings), _database(settings))

    def __str__(self) -> str:
        return f"sessions: {self.store}; user database: {self.database}"

    def document(self) -> dict[str, object]:
        """For output in JSON."""
        return asdict(self)


def check_exist(settings: Settings) -> None:
    """Raise `SettingsError` if the embedded server was never started or the SQLite file does not exist."""
    check_database_exists(settings)
    if settings.is_embedded and find_server() is not None and not was_started_in(settings.state_dir):
        raise SettingsError(f"STATE_DIR: no embedded server was ever started in {settings.state_dir.resolve()}; {_FIX}")


def check_database_exists(settings: Settings) -> None:
    """Raise `SettingsError` if the user database is an SQLite file that does not exist."""
    if not settings.has_database:
        return
    database = Database(settings)
    if database.is_sqlite and not Path(database.place).exists():
        name = "STATE_DIR" if settings.database_url is None else "DATABASE_URL"
        raise SettingsError(f"{name}: there is no user database {Path(database.place).resolve()}; {_FIX}")


def check_anything_exists(settings: Settings) -> None:
    """In embedded mode, raise `SettingsError` if neither the server nor the SQLite file exists.

    The doctor can examine anything else.
    """
    if not settings.is_embedded or was_started_in(settings.state_dir):
        return
    check_database_exists(settings)


def _store(settings: Settings) -> str:
    match settings.redis_mode:
        case "embedded":
            return f"embedded server in {settings.state_dir.resolve()}"
        case "single":
            dialer = Dialer.to_servers(settings)
            return f"Redis at {dialer.unix_path or dialer.address}, database {dialer.database}"
        case "sentinel":
            return f"Redis {settings.redis_master_name} of the Sentinels {', '.join(map(str, settings.redis_sentinels))}"
        case "cluster":
            return f"Redis Cluster at {', '.join(map(str, settings.redis_cluster_nodes))}"


def _database(settings: Settings) -> str:
    if not settings.has_database:
        return "none"
    database = Database(settings)
    return f"SQLite {Path(database.place).resolve()}" if database.is_sqlite else database.place
