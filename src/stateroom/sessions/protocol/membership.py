"""Which deployment this worker belongs to, and whether Redis belongs to the same one.

The deployment's id stands in the user database, where `stateroom db upgrade` makes it, and in Redis, beside the sessions.
If the two differ, two hosts with different databases share one Redis: user 7 of one host could be another person on the
other host, and an end on one host would be unknown on the other. So a host with another id does not start. A host that
notices it while it runs trusts nothing that this Redis holds.

While the database is unavailable at startup, Redis' copy tells the id. Redis' copy is lost with a flush or an eviction; a
worker that knows the id writes it back, over a settled connection to a primary on which the workers have agreed. Without a
database (`DATABASE_URL=none`) Redis' copy is the only one, and the first worker makes it.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from ...backend.agreement import FollowsSentinels
from ...backend.own_keys import text_of
from ...errors import DatabaseUnavailable, SettingsError, Unavailable
from ...logs import get_logger
from ..model.deployment import FOREIGN_REDIS_FIX

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ..journal.interface import EndsJournal
    from ..model.deployment import Deployment, DeploymentRow, SentinelRow
    from ..store.key_names import KeyNames
    from .lease import Lease

log = get_logger(__name__)


class Membership:
    """One worker's knowledge. `_foreign`: the shards that hold another deployment's id."""

    def __init__(
        self, *, client: RedisClient, journal: EndsJournal, deployment: Deployment, key_names: KeyNames, lease: Lease
    ) -> None:
        self._client = client
        self._journal = journal
        self._deployment = deployment
        self._key_names = key_names
        self._lease = lease
        self._foreign: set[str] = set()

    @property
    def is_foreign(self) -> bool:
        """Whether Redis holds another deployment's sessions. Then nothing in it may be trusted."""
        return bool(self._foreign)

    async def ask_database(self) -> SentinelRow | None:
        """Learn the id from the user database, and check that this worker has the deployment's lease and name.

        Returns what the workers have agreed on about the primary. If the database does not answer, the tail does this later.
        Raises `SettingsError`.
        """
        if not self._journal.has_journal:
            return None
        try:
            row = await self._journal.agree(lease_ms=self._lease.milliseconds, name=self._deployment.name)
        except DatabaseUnavailable:
            return None
        if row is None:
            raise SettingsError(
                "DATABASE_URL: the user database has lost its identity (the table fleet is empty); restore the row from a backup"
            )
        check_agreed(row, lease_ms=self._lease.milliseconds, name=self._deployment.name)
        self._deployment.id, self._deployment.epoch = row.id, row.epoch
        return row.sentinels

    async def ask_redis(self) -> None:
        """Check that Redis belongs to the same deployment. A shard that does not reply is skipped. Raises `SettingsError`."""
        for shard in self._client.shards():
            with contextlib.suppress(Unavailable):
                await self._compare(shard)
        if self._foreign:
            raise SettingsError(
                f"DATABASE_URL: Redis holds the sessions of a deployment with another user database; {FOREIGN_REDIS_FIX}"
            )

    async def look_at_all(self) -> None:
        """`look` at every shard. Raises `StoreUnavailable`."""
        for shard in self._client.shards():
            await self.look(shard)

    async def look(self, shard: str) -> str | None:
        """Compare the id in one primary with ours. Learn ours from it, or write ours back. Raises `StoreUnavailable`.

        Returns the id that the primary holds then; None if it holds none.
        """
        was_foreign = self.is_foreign
        self._foreign.intersection_update(self._client.shards())  # a Cluster's shards change
        found = await self._compare(shard)
        if self.is_foreign and not was_foreign:
            log.error("foreign_deployment", ours=self._deployment.id, found=found, fix=FOREIGN_REDIS_FIX)
        return found

    async def introduce(self, shard: str) -> str | None:
        """Write our id to the deployment's first primary, unless it has one, and `look`. Raises `StoreUnavailable`.

        A failover soon after must find the id on the replica.
        """
        if self._deployment.id is not None and await self._read(shard) is None:
            await self._leave(shard)
        return await self.look(shard)

    async def _compare(self, shard: str) -> str | None:
        found = await self._read(shard)
        if found is None:
            found = await self._write_back(shard)
        if found is None:
            return None
        if self._deployment.id is None:
            self._deployment.id = found
        if found == self._deployment.id:
            self._foreign.discard(shard)
        else:
            self._foreign.add(shard)
        return found

    async def claim(self) -> None:
        """Take over every primary for this deployment. Raises `StoreUnavailable`.

        The cursor counts rows of another deployment's journal. It is deleted, because with it our journal would look restored.
        """
        for shard in self._client.shards():
            name = self._key_names.fleet(shard)
            await self._client.execute(name, "SET", name, self._said)
            names = self._key_names
            for cursor in (names.cursor(shard), names.cursor_slots(shard), names.cursor_row(shard)):
                await self._client.execute(cursor, "DEL", cursor)
        self._foreign.clear()

    async def _read(self, shard: str) -> str | None:
        name = self._key_names.fleet(shard)
        said = await text_of(self._client, name)
        if said is None:
            return None
        found, _, deployment_name = said.partition(" ")
        if not self._journal.has_journal and deployment_name != self._deployment.name:
            return ""  # without a database Redis keeps the deployment's name, and this name is another one
        return found

    async def _write_back(self, shard: str) -> str | None:
        """Write our id to a primary that has none. Returns the id that it has then; None if it cannot be written now."""
        if self._deployment.id is None and not self._journal.has_journal:
            self._deployment.id = secrets.token_hex(16)
            await self._leave(shard)
            found = await self._read(shard)
            if found:  # another worker may have been first
                self._deployment.id = found
            return found
        if self._deployment.id is None or not self._may_write_back(shard):
            return None
        await self._leave(shard)
        return await self._read(shard)

    def _may_write_back(self, shard: str) -> bool:
        """Whether this is a believed primary, and no new one on which the workers have not agreed yet.

        While the user database is unavailable, a worker believes that one too. But it could be a server of nobody.
        """
        is_new = isinstance(self._client, FollowsSentinels) and self._client.agreement.wanted is not None
        return self._client.standing(self._key_names.fleet(shard)).is_believed and not is_new

    async def _leave(self, shard: str) -> None:
        name = self._key_names.fleet(shard)
        await self._client.execute(name, "SET", name, self._said, "NX")

    @property
    def _said(self) -> str:
        name = "" if self._journal.has_journal else self._deployment.name
        return f"{self._deployment.id} {name}".rstrip()


def check_agreed(row: DeploymentRow, *, lease_ms: int, name: str) -> None:
    """Check that this process has the deployment's lease and name. Raises `SettingsError`.

    Before the first worker has started, the row has neither, and any value is right.
    """
    if row.lease_ms is not None and row.lease_ms != lease_ms:
        agreed, here = row.lease_ms / 1000, lease_ms / 1000
        raise SettingsError(
            f"JOURNAL_LEASE: {here:g} s here but {agreed:g} s in the user database; workers and commands must have "
            f"the same value. Set it to {agreed:g} here. To change it everywhere, stop every worker and run "
            f"`stateroom db lease {here:g}`"
        )
    if row.name is not None and row.name != name:
        set_it = f"set DEPLOYMENT={row.name or 'none'}"
        raise SettingsError(
            f"DEPLOYMENT: {name or 'empty'} here but {row.name or 'empty'} in the user database; {set_it}. "
            "If this user database is a copy of another one, or if you want a new name, stop every worker and run "
            "`stateroom db adopt --new-identity`, which signs out all users"
        )
