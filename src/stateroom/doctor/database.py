"""Checks the user database: it answers, its schema is current, we may write, and it belongs to the same deployment as Redis.

The check creates neither a missing SQLite file nor a missing deployment id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ..database import Database
from ..errors import DatabaseUnavailable, SettingsError
from ..sessions.journal.sql import Journal
from ..sessions.model.deployment import FOREIGN_REDIS_FIX
from .findings import Finding, fault, ok, warning

if TYPE_CHECKING:
    from ..sessions.model.deployment import DeploymentRow, SentinelRow
    from ..settings import Settings

WHERE = "User database"
FLEET = "Deployment"
_REPLICATION = "(SELECT count(*) FROM pg_stat_replication) AS standbys, current_setting('synchronous_standby_names') AS synchronous"
_RIGHTS = [
    (right, table)
    for table in ("session_ends", "session_generations", "users", "fleet", "user_groups", "mail_tokens", "mails", "mail_counts")
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
]
_ASK_RIGHTS = "SELECT " + ", ".join(
    f"has_table_privilege('{table}', '{right}') AS \"{right} on {table}\"" for right, table in _RIGHTS
)


@dataclass(slots=True)
class DatabaseFindings:
    """What was found. `fleet_id`: the deployment's id, or None if it has none yet. `is_known`: whether the id could be read.
    `sentinels`: what the workers have agreed on about the primary; None if that could not be read.
    """

    findings: list[Finding] = field(default_factory=list)
    fleet_id: str | None = None
    is_known: bool = False
    sentinels: SentinelRow | None = None


async def look_at_database(settings: Settings) -> DatabaseFindings:
    """Examine the user database. A fault of the database becomes a finding, not an exception."""
    if not settings.has_database:
        what = (
            "DATABASE_URL is none: if Redis loses data, ended sessions can come back; while Redis is unavailable, requests get 503"
        )
        return DatabaseFindings([warning("no-journal", WHERE, what, "name a PostgreSQL database in DATABASE_URL")])
    database = Database(settings)
    try:
        if database.is_sqlite and not _exists(Path(database.place)):
            return DatabaseFindings(
                [ok(WHERE, f"the SQLite file {database.place} does not exist yet; `stateroom serve` creates it")], None, True
            )
        return await _look(database, settings)
    except SettingsError as refusal:
        name, _, rest = str(refusal).partition("; ")
        return DatabaseFindings([fault("database-refuses", WHERE, name, rest or "correct DATABASE_URL")])
    except OSError as error:
        what = f"{database.place} cannot be read: {error.strerror}"
        return DatabaseFindings([fault("database-away", WHERE, what, "run the doctor as the user that the service runs as")])
    except DatabaseUnavailable as unavailable:
        fix = "start it, or correct DATABASE_URL"
        return DatabaseFindings(
            [fault("database-away", WHERE, f"{database.place}: {unavailable.detail}, so nobody can sign in", fix)]
        )
    finally:
        await database.aclose()


async def _look(database: Database, settings: Settings) -> DatabaseFindings:
    revision, is_behind = await database.schema()
    if is_behind:
        older = f"the schema is at revision {revision}, and this release needs a newer one"
        what = f"{database.place}: {older if revision else 'there is no schema yet'}"
        if database.is_sqlite:
            return DatabaseFindings(
                [warning("schema", WHERE, what, "start the service, which upgrades it, or run `stateroom db upgrade`")]
            )
        return DatabaseFindings([fault("schema", WHERE, what, "run `stateroom db upgrade`")])
    looked = DatabaseFindings([ok(WHERE, f"{database.place}: reached; the schema (revision {revision}) is current")], is_known=True)
    if not database.is_sqlite:
        looked.findings += await _postgres(database)
    deployment = await Journal(database, settings.longest_session_ms).known_deployment()
    if deployment is not None:
        looked.fleet_id, looked.sentinels = deployment.id, deployment.sentinels
        looked.findings += _agreed(deployment, settings)
    return looked


def _agreed(row: DeploymentRow, settings: Settings) -> list[Finding]:
    """Compare the settings with the values that the deployment's first worker stored."""
    findings = []
    if row.name not in {None, settings.deployment}:
        what = (
            f"DEPLOYMENT is {settings.deployment or 'empty'} here but {row.name or 'empty'} in the user database, "
            "so the service does not start"
        )
        set_it = f"set DEPLOYMENT={row.name or 'none'}"
        fix = f"{set_it}; if the user database is a copy, run `stateroom db adopt --new-identity`"
        findings.append(fault("deployment-name", WHERE, what, fix))
    if row.lease_ms not in {None, round(settings.journal_lease * 1000)}:
        agreed = f"{(row.lease_ms or 0) / 1000:g}"
        what = (
            f"JOURNAL_LEASE is {settings.journal_lease:g} s here but {agreed} s in the user database, so the service does not start"
        )
        fix = f"set JOURNAL_LEASE to {agreed}, or stop every worker and run `stateroom db lease {settings.journal_lease:g}`"
        findings.append(fault("lease", WHERE, what, fix))
    return findings


async def _postgres(database: Database) -> list[Finding]:
    """Find what prevents the service from recording the end of a session, and what lets a crash undo such a record."""
    options = ("synchronous_commit", "fsync", "full_page_writes")
    columns = ", ".join(f"current_setting('{name}') AS {name}" for name in options)
    async with database.connect() as connection:
        found = (
            (await connection.execute(text(f"SELECT pg_is_in_recovery() AS standby, {_REPLICATION}, {columns}"))).mappings().one()
        )
        state = {str(name): value for name, value in found.items()}
        held = (await connection.execute(text(_ASK_RIGHTS))).mappings().one()
        lacking = [right for right, is_held in held.items() if not is_held]
    return [*_standby(state), *_failover(state), *_durability(state), *_rights(lacking)]


def _standby(state: Mapping[str, Any]) -> list[Finding]:
    if not state["standby"]:
        return []
    what = "the user database is a read-only standby, so nobody can sign in or out"
    return [
        fault(
            "database-standby", WHERE, what, "name the primary in DATABASE_URL, or several hosts and target_session_attrs=primary"
        )
    ]


def _failover(state: Mapping[str, Any]) -> list[Finding]:
    if not state["standbys"] or state["synchronous"]:
        return []
    what = (
        "synchronous_standby_names is empty, so the standbys of PostgreSQL can lack the last commits; "
        "after a failover to one of them, a sign-out that the service has confirmed can be lost"
    )
    return [
        warning("database-asynchronous", WHERE, what, "set synchronous_standby_names in postgresql.conf, for example to ANY 1 (*)")
    ]


def _durability(state: Mapping[str, Any]) -> list[Finding]:
    is_off = [name for name in ("synchronous_commit", "fsync", "full_page_writes") if state[name] == "off"]
    if not is_off:
        return []
    *most, last = is_off
    names = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    what = f"{names} off, so a crash of PostgreSQL can undo a sign-out that the service has confirmed"
    return [warning("database-durability", WHERE, what, f"turn {'them' if len(is_off) > 1 else 'it'} on in postgresql.conf")]


def _rights(lacking: list[str]) -> list[Finding]:
    if not lacking:
        return []
    what = f"the user in DATABASE_URL lacks {', '.join(lacking)}"
    return [
        fault(
            "database-rights", WHERE, what, "run GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO that user"
        )
    ]


def _exists(path: Path) -> bool:
    return path.exists()


def judge_fleet(looked: DatabaseFindings, found: Mapping[str, object]) -> list[Finding]:
    """Compare the deployment's id in the user database with `found`: the id that each primary holds, by server."""
    if not looked.is_known or not found:
        return []
    ids = {where: reply.decode() for where, reply in found.items() if isinstance(reply, bytes)}
    if any(isinstance(reply, Exception) for reply in found.values()) and not ids:
        return []  # The user may not read the key. Another finding says so.
    foreign = [where for where, each in ids.items() if each != looked.fleet_id]
    if foreign:
        what = (
            f"Redis ({', '.join(foreign)}) holds the sessions of a deployment with another user database, "
            "so the service does not start"
        )
        return [fault("fleet", FLEET, what, FOREIGN_REDIS_FIX)]
    if not ids:
        return [ok(FLEET, "Redis belongs to no deployment yet; the first worker that starts gives it to this user database")]
    return [ok(FLEET, "Redis and the user database belong together")]
