"""`stateroom sentinels accept`: takes the present epoch of rebuilt Sentinels as the new base.

It also accepts a failover to a server without the deployment's id, which the workers refuse (sentinel_row.py). Its data may be
lost, or it may be a wrong server. So the administrator is told to check that.

The command asks every Sentinel of the settings, as a worker does. It asks them again after the confirmation, and commits only
what it has shown.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from .. import __version__
from ..backend.dial import Dialer, IsReplica
from ..backend.sentinel import Named
from ..backend.sentinel_client import OtherDeployment, SentinelClient
from ..backend.unprompted import explain
from ..database import Database
from ..errors import Conflict, SettingsError, StoreUnavailable
from ..intervals import interval, longest_read
from ..logs import security_event
from ..private import hide_new_files
from ..sessions.journal.sql import Journal
from ..sessions.model.deployment import EMPTY_PRIMARY_FIX, FOREIGN_PRIMARY_FIX, SentinelRow
from ..sessions.protocol.accepting import accept_epoch
from ..sessions.protocol.membership import check_agreed
from ..sessions.store.key_names import KeyNames
from ..settings import Settings
from ..telemetry.logging import configure_logging
from ..telemetry.metrics import Metrics
from .named_stores import check_database_exists

if TYPE_CHECKING:
    from ..sessions.model.deployment import DeploymentRow

STOP_OLD = (
    "Before you accept: stop every Sentinel that was replaced, for ever. A worker that is started later and reaches a majority of "
    "them may trust their primary"
)
WITHOUT_ID = (
    "holds no deployment's id: it has lost its data, or it is a wrong server. Accept it only if this is the server to which your "
    "Sentinels failed over. The workers then write the id into it, and store sessions again from the users' cookies"
)


SPARE_SECONDS = 0.5
"""For a worker that is busy when the reads are due."""


class Look(NamedTuple):
    """What was found. `lines`: for the administrator. `row`: what the workers have agreed on. `named`: what the Sentinels name.

    `seconds`: how long the workers take to trust that, once it is accepted.
    """

    lines: Sequence[str]
    row: SentinelRow
    named: Named
    seconds: int


def look() -> Look:
    """Ask the Sentinels and the user database. Changes nothing.

    Raises `SettingsError`, `Conflict` if there is nothing that can be accepted, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    return asyncio.run(_run(_settings(), None))


def accept(shown: Look) -> Look:
    """Commit what `look` has shown, if the Sentinels still say that. Raises as `look`."""
    return asyncio.run(_run(_settings(), shown))


def _settings() -> Settings:
    settings = Settings.load()
    if settings.redis_mode != "sentinel":
        raise SettingsError(f"REDIS_MODE is {settings.redis_mode}, so there are no Sentinels to accept; set REDIS_SENTINELS")
    if not settings.has_database:
        raise SettingsError(
            "DATABASE_URL is none, so each worker keeps the Sentinels' epoch in its memory; restart every worker instead"
        )
    check_database_exists(settings)
    hide_new_files()
    configure_logging(settings)
    return settings


async def _run(settings: Settings, shown: Look | None) -> Look:
    database = Database(settings)
    client = SentinelClient(settings, Metrics(__version__))
    try:
        await database.prepare()
        journal = Journal(database, settings.longest_session_ms)
        deployment = await journal.known_deployment()
        if deployment is None:
            raise SettingsError("DATABASE_URL: the user database has lost its identity (the table fleet is empty)")
        check_agreed(deployment, lease_ms=round(settings.journal_lease * 1000), name=settings.deployment)
        if deployment.sentinels.primary is None:
            raise Conflict(
                "there is nothing to accept: the workers have agreed on no primary yet; start a worker, which takes the primary "
                "that a majority of the Sentinels names"
            )
        await client.watcher.start()
        await client.watcher.ask_all()
        found = await _look(client, settings, deployment)
        if shown is not None:
            if (found.row, found.named) != (shown.row, shown.named):
                raise Conflict("the Sentinels or the workers have changed their mind meanwhile; run the command again")
            row = await accept_epoch(journal, found.row, epoch=found.named.epoch, primary=str(found.named.primary))
            security_event("sentinels_accepted", base=row.base, epoch=row.epoch, primary=row.primary)
        return found
    finally:
        await client.watcher.aclose()
        await database.aclose()


async def _look(client: SentinelClient, settings: Settings, deployment: DeploymentRow) -> Look:
    row, watcher = deployment.sentinels, client.watcher
    lines, said = [], []
    for sentinel in watcher.sentinels:
        if sentinel.answer is None:
            lines.append(f"Sentinel {sentinel.address}: no answer ({sentinel.fault})")
        else:
            said.append(Named(sentinel.answer.epoch, sentinel.answer.primary))
            lines.append(f"Sentinel {sentinel.address}: names {said[-1].primary} in epoch {said[-1].epoch}")
    lines.append(f"The workers have agreed on {row.primary} in epoch {row.epoch} (base {row.base})")
    told = "\n".join(lines)
    if len(said) < watcher.majority:
        needed = f"{watcher.majority} of {len(watcher.sentinels)}"
        raise StoreUnavailable(f"{told}\ntoo few Sentinels answer: {needed} must; start the others, then run the command again")
    if len(set(said)) > 1:
        fix = "wait until they agree, or replace those that were not rebuilt"
        raise Conflict(f"{told}\nthe Sentinels contradict each other; {fix}, then run the command again")
    named = said[0]
    if row[1:] == (named.epoch, str(named.primary)):
        raise Conflict(f"{told}\nthere is nothing to accept: the Sentinels name what the workers have agreed on")
    key = KeyNames(settings.redis_key_prefix).fleet("")
    try:
        await _examine(client, named, key, deployment.id)
        lines.append(f"{named.primary} is a primary of this deployment")
    except (RedisError, OSError, TimeoutError) as error:
        if not (named.epoch > row.epoch and await _holds_no_id(client, named, key)):
            why = str(error) or type(error).__name__
            fix = await _fix(error, settings, named)
            raise StoreUnavailable(f"{told}\n{named.primary} cannot be accepted as the primary: {why}; {fix}") from error
        lines.append(f"{named.primary} {WITHOUT_ID}")
    lines.append(STOP_OLD)
    return Look(lines, row, named, _seconds_until_trusted(settings.journal_lease))


def _seconds_until_trusted(lease: float) -> int:
    """A worker reads the row, and trusts the primary by a read that begins a lease later (agreement.py)."""
    reads = 2 * (interval(lease) + longest_read(lease))
    return math.ceil(lease + reads + SPARE_SECONDS)


async def _examine(client: SentinelClient, named: Named, key: str, own: str) -> None:
    """Raises redis-py's errors, `OSError` or `TimeoutError` if the server is not a primary whose id is `own`."""
    client.agreement.identity = lambda: (key, own)
    await client.examine(named.primary)


async def _fix(error: Exception, settings: Settings, named: Named) -> str:
    """What to do if `_examine` raises this error."""
    if isinstance(error, OtherDeployment):
        return FOREIGN_PRIMARY_FIX if error.is_foreign else EMPTY_PRIMARY_FIX
    if isinstance(error, IsReplica):
        return "if a failover just ended, run the command again; if not, correct `sentinel monitor` on each Sentinel"
    return (await explain(error, Dialer.to_servers(settings), named.primary)).fix


async def _holds_no_id(client: SentinelClient, named: Named, key: str) -> bool:
    """Whether the server is a primary without an id. After a failover (a higher epoch) that may be lost data."""
    try:
        await _examine(client, named, key, "")
    except (RedisError, OSError, TimeoutError):
        return False
    return True
