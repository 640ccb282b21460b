"""The deployment's epoch beside the sessions, in every primary.

"Everybody out" commits a row in the journal and changes the deployment's epoch (model/deployment.py). Workers read the epoch
with their tail. A worker that has lost the journal, and goes on trusting a settled store, reads the epoch in the store. So
it learns of the change too, and does not go on trusting a store that no other worker reaches.

The copy also tells a starting worker that the database was restored: then it names an epoch that the journal does not know.
Sessions that had been ended could be good again, so all sessions are ended once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from ...backend.own_keys import text_of
from ...errors import StoreUnavailable
from ...intervals import interval
from ...logs import get_logger
from ..model.rows import EVERYBODY

if TYPE_CHECKING:
    from ...backend.client import RedisClient
    from ...backend.standing import Glimpse, Standing
    from ..journal.interface import EndsJournal
    from ..journal.tail import Tail
    from ..model.clock import Clock
    from ..model.deployment import Deployment
    from ..store.key_names import KeyNames
    from .lease import Lease
    from .membership import Membership

log = get_logger(__name__)


class Epochs:
    """One worker's copies. `_seen`: for each primary the connection of the last read, when the read began, and the epoch."""

    def __init__(
        self,
        *,
        client: RedisClient,
        journal: EndsJournal,
        tail: Tail,
        deployment: Deployment,
        membership: Membership,
        key_names: KeyNames,
        clock: Clock,
        lease: Lease,
    ) -> None:
        self._client = client
        self._lease = lease
        self._membership = membership
        self._journal = journal
        self._tail = tail
        self._deployment = deployment
        self._key_names = key_names
        self._clock = clock
        self._seen: dict[Standing, tuple[Glimpse, float, str]] = {}

    async def ask(self, glimpse: Glimpse, *, not_before: float) -> str | None:
        """The epoch in the primary, read over this connection; None if it does not reply.

        `not_before`: a reply to a question from before this moment of the monotonic clock is too old.
        """
        said = self._seen_since(not_before, glimpse)
        if said is None:  # the journal became unavailable a moment ago
            await asyncio.gather(*(self._look(shard) for shard in self._shards_of(glimpse)))
            said = self._seen_since(not_before, glimpse)
        return said

    def _seen_since(self, moment: float, glimpse: Glimpse) -> str | None:
        seen = self._seen.get(glimpse.standing)
        return seen[2] if seen is not None and seen[0] is glimpse and seen[1] >= moment else None

    def _shards_of(self, glimpse: Glimpse) -> list[str]:
        return [shard for shard in self._client.shards() if self._client.standing(shard) is glimpse.standing]

    async def publish(self, epoch: str) -> None:
        """Write it to every primary that takes writes. A worker compares the other primaries when it connects to them."""
        for shard in self._client.shards():
            with contextlib.suppress(StoreUnavailable):
                await self._write(shard, epoch)

    async def compare(self, shard: str) -> None:
        """Bring a primary's copy up to date, or find out that the journal went back.

        Raises `StoreUnavailable`, `DatabaseUnavailable`.
        """
        found = await self._read(shard)
        if found in {"", self._deployment.epoch} or found in self._tail.replaced:
            if found != self._deployment.epoch:
                await self._write(shard, self._deployment.epoch)
            return
        await self._membership.look(shard)  # `db adopt` writes the id first
        if self._membership.is_foreign:
            raise StoreUnavailable("Redis was taken over by another deployment, and has its epoch")
        await self._tail.catch_up()  # the epoch may be newer than the tail
        if found != self._deployment.epoch and found not in self._tail.replaced:
            log.error(
                "journal_lacks_epoch",
                fix="none needed: the user database was restored from a backup, so the service ends every session",
            )
            await self._journal.change_epoch(EVERYBODY, ended_at=self._clock.now_ms())
            await self._tail.catch_up()
        await self._write(shard, self._deployment.epoch)

    async def run(self) -> None:
        """While the journal is unavailable, read the copies as often as the tail would be read, until cancelled."""
        while True:
            if self._tail.is_away:
                await asyncio.gather(*(self._look(shard) for shard in self._client.shards()))
            await asyncio.sleep(interval(self._lease.seconds))

    async def _look(self, shard: str) -> None:
        began = time.monotonic()
        glimpse = self._client.standing(shard).glimpse
        try:
            found = await self._read(shard)
        except StoreUnavailable:
            return
        if glimpse.still_holds():
            self._seen[glimpse.standing] = glimpse, began, found
            if not self._tail.has_read:
                self._deployment.epoch = found

    async def _read(self, shard: str) -> str:
        name = self._key_names.epoch(shard)
        return await text_of(self._client, name) or ""

    async def _write(self, shard: str, epoch: str) -> None:
        name = self._key_names.epoch(shard)
        await self._client.execute(name, "SET", name, epoch)
